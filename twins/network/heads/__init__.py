"""The heads that turn feature maps into logits, one file each."""
