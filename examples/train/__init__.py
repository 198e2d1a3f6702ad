"""A recipe for small Twins: from folders of photos to a checkpoint. See README.md."""
