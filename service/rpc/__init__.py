"""gRPC: unwraps requests, wraps answers. No rules live here."""
