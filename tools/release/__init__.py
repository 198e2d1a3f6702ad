"""What `make release` does: builds the packages and the image, checks what is in them, and signs them."""
