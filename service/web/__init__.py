"""The pages for people: `/`, on which a model is tried, and `/status`, on which the service is watched."""
