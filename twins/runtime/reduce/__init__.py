"""What is kept of the logits on the device before the download, one file each."""
