"""What turns the trunk's maps into an answer: one file a task."""
