"""The forms in which a mask can be handed out: one file a form, pure functions from a segmentation. No torch."""
