"""A client of the Twins inference service.

>>> client = Client("http://localhost:8000")
>>> client.classify("examples/cat.jpg").best.label
'cat'
>>> client.close()
"""

from twins_client.errors import TwinsError
from twins_client.http import AsyncClient, Client
from twins_client.results import Classification, Detection, Detections, Embedding, Prediction, Region, Segmentation
from twins_client.retry import Retry
from twins_client.tls import Tls

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "AsyncGrpcClient",
    "Classification",
    "Client",
    "Detection",
    "Detections",
    "Embedding",
    "GrpcClient",
    "Prediction",
    "Region",
    "Retry",
    "Segmentation",
    "Tls",
    "TwinsError",
]


def __getattr__(name: str) -> object:
    """Import the clients over gRPC when they are used, since they need grpcio."""
    if name in ("GrpcClient", "AsyncGrpcClient"):
        from twins_client import grpc

        return getattr(grpc, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
