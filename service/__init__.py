"""The service: Twins models behind HTTP and gRPC."""
