"""A receiver of traces for a test: OTLP over gRPC or HTTP, on a free port of the loopback interface."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as pb
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc as pb_grpc

from tests.server import wait_until


@dataclass(frozen=True)
class Received:
    """A span as it arrived. Ids are in hexadecimal digits, times in nanoseconds since 1970."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    began_ns: int
    ended_ns: int
    kind: int
    attributes: dict[str, Any]
    links: tuple[str, ...]  # the ids of the spans
    error: str
    process: str  # the role of the process that sent it
    resource: dict[str, Any] = field(compare=False)

    @property
    def took_s(self) -> float:
        """Return how long it lasted."""
        return (self.ended_ns - self.began_ns) / 1e9


class Spans:
    """What a receiver has got so far."""

    def __init__(self) -> None:
        self.received: list[Received] = []

    def take(self, request: pb.ExportTraceServiceRequest) -> None:
        """Add the spans of a request."""
        for of_resource in request.resource_spans:
            resource = values(of_resource.resource.attributes)
            for scope in of_resource.scope_spans:
                self.received += [received(span, resource) for span in scope.spans]

    def of(self, trace_id: str) -> list[Received]:
        """Return the spans of a trace."""
        return [span for span in self.received if span.trace_id == trace_id]

    def wait_for(self, trace_id: str, *names: str) -> list[Received]:
        """Wait until a trace has spans of these names, and return all its spans."""

        def found() -> list[Received]:
            spans = self.of(trace_id)
            return spans if set(names) <= {span.name for span in spans} else []

        return wait_until(found, what=f"the spans {names} of {trace_id}")


def received(span: Any, resource: dict[str, Any]) -> Received:
    """Return a span of a message."""
    return Received(
        span.name,
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.start_time_unix_nano,
        span.end_time_unix_nano,
        span.kind,
        values(span.attributes),
        tuple(link.span_id.hex() for link in span.links),
        span.status.message if span.status.code == span.status.STATUS_CODE_ERROR else "",
        resource.get("twins.process", ""),
        resource,
    )


def values(attributes: Any) -> dict[str, Any]:
    """Return the attributes of a message by name."""
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in attributes}


class GrpcReceiver(pb_grpc.TraceServiceServicer):
    """A receiver over gRPC."""

    def __init__(self, port: int = 0) -> None:
        self.spans = Spans()
        self.server = grpc.server(ThreadPoolExecutor(2))
        pb_grpc.add_TraceServiceServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port(f"127.0.0.1:{port}")

    def __enter__(self) -> "GrpcReceiver":
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop(0).wait()

    @property
    def endpoint(self) -> str:
        """Return the URL of the receiver."""
        return f"http://127.0.0.1:{self.port}"

    def Export(self, request, context):
        """Take spans."""
        self.spans.take(request)
        return pb.ExportTraceServiceResponse()


class HttpReceiver:
    """A receiver over HTTP. It answers with `status`, and counts the requests."""

    def __init__(self, status: int = 200) -> None:
        self.spans, self.status, self.requests = Spans(), status, 0
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler())

    def __enter__(self) -> "HttpReceiver":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    @property
    def endpoint(self) -> str:
        """Return the URL of the receiver."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def handler(self) -> type[BaseHTTPRequestHandler]:
        """Return what handles the requests."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests += 1
                if self.path == "/v1/traces" and receiver.status == 200:
                    receiver.spans.take(pb.ExportTraceServiceRequest.FromString(body))
                self.send_response(receiver.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Log nothing."""

        return Handler
