"""The Open Inference Protocol (KServe V2) with Triton's extensions, over HTTP and gRPC.

Tensors, requests and answers are the same for both; `routes` and `servicer` only translate them.
"""
