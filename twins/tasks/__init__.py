"""One file a task: preprocess, postprocess, result type. No torch: this runs in the frontends."""
