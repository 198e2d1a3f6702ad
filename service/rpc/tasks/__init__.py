"""The messages of each task, one file per task: its options from a request, and its result as a response."""
