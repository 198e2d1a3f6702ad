"""All settings of the service in one typed object. `service.setting_sources` reads them."""

from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.setting_types import Devices, Endpoint, Keys, List, Networks, Port, Route, SpacedList
from twins.images.decode import Limits
from twins.preprocessing import SYNTAX
from twins.running import BackendChoice, Precision
from twins.zoo.models import DEFAULT_MODELS


class SettingsError(ValueError):
    """A setting has an unknown name or an invalid value."""


class Settings(BaseModel):
    """The settings of the service. A name ends in the unit of its value."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    models: List = Field(
        tuple(DEFAULT_MODELS.values()),
        description="Serve these models, each given as NAME, NAME=FILE or NAME=hf://ORG/REPO. "
        "The first model of a task is its default.",
    )
    model_repository: Path | None = Field(
        None,
        description="Serve the models in this folder, each in NAME/VERSION/. Without --model, serve only these.",
    )
    model_poll_s: float = Field(
        0.0,
        ge=0,
        description="Look for new and removed versions in the model repository every so many seconds. 0 means never.",
    )
    allow_model_control: bool = Field(
        default=False,
        description="Let clients load and unload models, and choose default versions, while the service runs.",
    )
    labels: List = Field(
        (),
        description="Read the class names of your own checkpoint from FILE, or from MODEL=FILE if you serve several.",
    )
    preprocess: SpacedList = Field(
        (),
        description="Preprocess images for a model with these values instead of those in its file: "
        f"MODEL:{SYNTAX}. Separate several models by spaces in the variable.",
    )
    exif: Literal["model", "always", "never"] = Field(
        "model",
        description="Rotate images as their EXIF data says: always, never, or as each model was evaluated (model).",
    )

    decode: Literal["fast", "exact"] = Field(
        "fast",
        description="Decode large JPEG images at a half, a quarter or an eighth of their size if the eightfold size "
        "of the network's input is left, or the fourfold for masks (fast), or always at their full size (exact).",
    )

    host: str = Field("127.0.0.1", description="Listen on this address.")
    http_port: Port = Field(8000, description="Serve REST and /metrics on this port.")
    grpc_port: Port = Field(8001, description="Serve gRPC on this port.")
    tls_certificate: Path | None = Field(
        None,
        description="Serve HTTPS and gRPC over TLS with the certificate in this PEM file, followed by its intermediate "
        "certificates. The file is read again when it changes.",
    )
    tls_key: Path | None = Field(None, description="Use the private key in this PEM file for the certificate.")
    tls_client_ca: Path | None = Field(
        None,
        description="Require a certificate of clients that is signed by an authority in this PEM file (mutual TLS).",
    )
    triton_metrics: bool = Field(
        default=False, description="Add the metrics of models and GPUs to /metrics in Triton's names (nv_…) as well."
    )
    predict_route: Route = Field(
        "", description="Answer Vertex AI's requests at this path. The variable AIP_PREDICT_ROUTE sets it as well."
    )
    health_route: Route = Field(
        "", description="Answer health checks at this path, too. The variable AIP_HEALTH_ROUTE sets it as well."
    )
    api_keys: Keys = Field(
        (),
        description="API keys, each given as KEY or NAME:KEY. If any are set, every request must carry one. "
        "The log shows the name, or key-1 for the first key.",
    )
    keys_file: Path | None = Field(
        None,
        description="Accept the API keys in this file as well, which `twins keys` writes. "
        "A change takes effect within seconds.",
    )
    protect_metrics: bool = Field(default=False, description="Require an API key with the scope metrics for /metrics.")
    cors_origins: List = Field(
        (),
        description="Let pages of these origins call the service from a browser, such as https://example.org, "
        "separated by commas; * stands for all.",
    )
    trusted_proxies: Networks = Field(
        (),
        description="Believe X-Forwarded-For from proxies in these networks, such as 10.0.0.0/8, separated by commas.",
    )

    device: Devices = Field(
        ("auto",),
        description="Run models on these devices, separated by commas: cpu, cuda, cuda:1. "
        "auto uses every GPU, or the CPU if there is none.",
    )
    precision: Precision = Field(
        "auto",
        description="Compute in float32, bfloat16 or float16, or in int8 with OpenVINO on a CPU. "
        "auto means float32 on a CPU, and on a GPU bfloat16 or float16 if it supports them.",
    )
    calibration: Path | None = Field(
        None,
        description="Quantise models for the precision int8 with images of this folder and its sub-folders. "
        "They need no labels.",
    )
    backend: BackendChoice = Field(
        "auto",
        description="Run models with torch, compile (torch.compile), openvino, onnx (ONNX Runtime) or tensorrt. "
        "auto takes what measured best on the device and is installed: openvino on a CPU, torch on a GPU.",
    )
    threads: int = Field(
        0,
        ge=0,
        description="Use this many threads in a CPU worker. "
        "0 means the number of cores, divided among the CPU workers. OpenVINO runs small images on half of them.",
    )
    decode_threads: int = Field(
        0,
        ge=0,
        description="Decode images in this many threads per frontend. "
        "0 means one per core, divided among the frontends.",
    )
    isolate_pixels: int = Field(
        16_000_000,
        ge=0,
        description="Decode images with more than this many pixels in processes that are killed if one takes too long. "
        "0 means never.",
    )
    decode_timeout_s: float = Field(
        10.0, gt=0, description="Give up an image that takes more than this many seconds to decode in such a process."
    )
    frontends: int = Field(
        0,
        ge=0,
        le=64,
        description="Start this many processes that answer HTTP and gRPC. 0 means one for every 2 cores with a GPU, "
        "and one for every 4 without, but at least 1 and at most 16.",
    )

    max_batch: int = Field(
        0,
        ge=0,
        le=1024,
        description="Run at most this many images in a batch. 0 means 32 on a GPU and 8 on a CPU for classification, "
        "8 on a GPU and 1 on a CPU for segmentation and detection.",
    )
    max_delay_ms: float = Field(0.0, ge=0, description="Wait up to this many milliseconds to fill a batch.")
    max_queue: int = Field(
        512, ge=1, description="Reject requests with 429 when more than this many images are in flight in a frontend."
    )
    request_timeout_s: float = Field(
        30.0, gt=0, description="Stop a request after this many seconds. This is also the default deadline."
    )

    header_timeout_s: float = Field(
        10.0,
        gt=0,
        description="Close a connection whose next request has not sent all its headers in this many seconds.",
    )
    idle_timeout_s: float = Field(
        75.0,
        gt=0,
        description="Close a connection that has had no request for this many seconds. "
        "Set more than a load balancer waits, so that it closes first.",
    )
    send_timeout_s: float = Field(
        30.0,
        gt=0,
        description="Cut a connection whose client fetches less than 1 KiB per second of its answer "
        "over this many seconds.",
    )
    max_connections: int = Field(
        0,
        ge=0,
        description="Keep at most this many HTTP connections open in a frontend. Beyond them, close one that waits for "
        "a request, or answer 503. 0 means three quarters of the limit of open files.",
    )
    max_connections_per_address: int = Field(
        512,
        ge=0,
        description="Keep at most this many HTTP connections open from one address, or from one /64 network of IPv6, "
        "in a frontend. 0 means no limit. Trusted proxies have none.",
    )
    client_in_flight: int = Field(
        0,
        ge=0,
        description="Reject a client's requests with 429 when more than this many of its images are in flight in a "
        "frontend. A client is an API key, or an address without keys. 0 means no limit.",
    )
    client_images_per_s: float = Field(
        0.0,
        ge=0,
        description="Reject a client's requests with 429 when it sends more than this many images per second to a "
        "frontend. 0 means no limit.",
    )

    max_body_bytes: int = Field(64 * 2**20, ge=1, description="Reject request bodies with more than this many bytes.")
    max_held_bytes: int = Field(
        2**30,
        ge=1024,
        description="Reject requests with 429 when unanswered requests hold more than this many bytes in a frontend.",
    )
    max_calls: int = Field(
        1000,
        ge=1,
        description="Reject gRPC calls when more than this many are open in a frontend. A stream is one call.",
    )
    max_calls_per_address: int = Field(
        512,
        ge=0,
        description="Reject gRPC calls when more than this many from one address, or from one /64 network of IPv6, "
        "are open in a frontend. 0 means no limit. Trusted proxies have none.",
    )
    max_images: int = Field(64, ge=1, description="Reject requests with more than this many images.")
    max_image_bytes: int = Field(
        Limits.max_bytes, ge=1, le=2**30, description="Reject images with more than this many bytes."
    )
    max_pixels: int = Field(Limits.max_pixels, ge=1, description="Reject images with more than this many pixels.")
    max_side: int = Field(
        Limits.max_side, ge=1, description="Reject images with more than this many pixels in width or height."
    )
    max_frames: int = Field(
        Limits.max_frames,
        ge=1,
        description="Reject images with more than this many frames. Only the first frame is used.",
    )

    drain_delay_s: float = Field(
        1.0,
        ge=0,
        description="Keep serving for this many seconds after the signal to stop, while /readyz already answers 503.",
    )
    grace_s: float = Field(
        30.0, ge=0, description="Wait up to this many seconds after the drain delay for requests in flight to finish."
    )
    start_timeout_s: float = Field(
        600.0, gt=0, description="Kill a worker that takes more than this many seconds to load and warm up."
    )
    hang_timeout_s: float = Field(
        120.0,
        ge=2,
        description="Kill a worker that sends no heartbeat, or runs one batch, for more than this many seconds.",
    )
    canary_s: float = Field(
        10.0,
        ge=0,
        description="Run a blank image when no batch of a worker has succeeded for this many seconds. After three "
        "times as long without success, or two failures, the worker does not count as ready. 0 means never.",
    )

    otlp_endpoint: Endpoint = Field(
        "",
        description="Send traces to the OTLP receiver at this URL, such as http://localhost:4317. "
        "This needs the extra `tracing`. Empty means that no traces are recorded.",
    )
    otlp_protocol: Literal["grpc", "http"] = Field(
        "grpc", description="Send traces over gRPC, or as protobuf over HTTP (http), usually to port 4318."
    )
    trace_ratio: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Record this fraction of the requests, of those whose traceparent does not decide it.",
    )

    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="Log as console or json. auto means console on a terminal and json elsewhere."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Log messages of this severity and above."
    )

    @model_validator(mode="after")
    def check_together(self) -> Self:
        """Check the settings that depend on each other."""
        if self.http_port == self.grpc_port != 0:
            raise ValueError(f"{{http_port}} and {{grpc_port}} are both {self.http_port}; choose two different ports")
        if self.protect_metrics and not (self.api_keys or self.keys_file):
            raise ValueError("{protect_metrics} needs a key that allows to read them; set {api_keys} or {keys_file}")
        if self.max_held_bytes < self.max_body_bytes:
            raise ValueError(
                "{max_held_bytes} is less than {max_body_bytes}, so the largest request would never be accepted; "
                "raise the first or lower the second"
            )
        if (self.tls_certificate is None) != (self.tls_key is None):
            raise ValueError("{tls_certificate} and {tls_key} belong together; give both or none")
        if self.tls_client_ca and not self.tls_certificate:
            raise ValueError("{tls_client_ca} needs TLS; give {tls_certificate} and {tls_key} as well")
        return self

    @property
    def trusted_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Return the networks of `trusted_proxies`."""
        return tuple(map(ip_network, self.trusted_proxies))

    @property
    def image_limits(self) -> Limits:
        """Return the limits that `twins.images.decode` checks."""
        return Limits(self.max_image_bytes, self.max_pixels, self.max_side, self.max_frames)
