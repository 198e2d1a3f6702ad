"""The service under load: what a request costs, and how it scales."""
