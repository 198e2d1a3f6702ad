"""The gRPC methods that Ray Serve's proxies pass on: those of our services, and the standard checks of health."""

from dataclasses import dataclass

from google.protobuf.descriptor import ServiceDescriptor
from grpc_health.v1 import health_pb2

from service.pb.inference import grpc_service_pb2
from service.pb.twins.v1 import twins_pb2

SERVICES: tuple[ServiceDescriptor, ...] = (
    twins_pb2.DESCRIPTOR.services_by_name["Twins"],
    grpc_service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"],
    health_pb2.DESCRIPTOR.services_by_name["Health"],
)


@dataclass(frozen=True)
class Method:
    """A method. The proxy passes it on by its name alone, so no two services have methods of one name."""

    name: str
    path: str  # with the service
    takes_stream: bool
    returns_stream: bool


METHODS = tuple(
    Method(each.name, f"/{service.full_name}/{each.name}", each.client_streaming, each.server_streaming)
    for service in SERVICES
    for each in service.methods
)
