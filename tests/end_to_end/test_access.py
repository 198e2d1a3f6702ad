"""Who may do what, over HTTP and gRPC, and where a key must never be seen."""

import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import httpx
import psutil
import pytest

from service.access import key_file
from service.access.keys import SCOPES, Key, digest
from service.pb.inference import grpc_service_pb2 as oip
from service.pb.inference import grpc_service_pb2_grpc as oip_grpc
from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from tests.server import Server, wait_until

MODEL = "twins_svt_nano"
SECRETS = {name: f"s3cret-of-{name}" for name in (*SCOPES, "operator", "old")}
"""A key for each scope that has this scope alone; one in the variable, and one that has expired."""
WRONG = "s3cret-of-nobody"
KEYS = [
    *(Key(scope, digest(SECRETS[scope]), (scope,)) for scope in SCOPES),
    Key("old", digest(SECRETS["old"]), SCOPES, datetime(2020, 1, 1, tzinfo=UTC)),
]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Return the folder for temporary files of the service, with a short name."""
    with tempfile.TemporaryDirectory(prefix="t-") as made:
        yield Path(made)


@pytest.fixture(scope="module")
def keys_path(tmp_path_factory) -> Path:
    """Return the keys file of the service."""
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    key_file.write(path, KEYS)
    return path


@pytest.fixture(scope="module")
def server(folder, keys_path) -> Iterator[Server]:
    """Start a service with keys in a variable and in a file, that protects its metrics and takes orders."""
    environ = {
        "TWINS_API_KEYS": f"operator:{SECRETS['operator']}",
        "TWINS_KEYS_FILE": str(keys_path),
        "TWINS_LOG_LEVEL": "debug",
        "TMPDIR": str(folder),
    }
    flags = ("--protect-metrics", "--allow-model-control", "--predict-route", "/predict")
    with Server("--model", MODEL, "--frontends", "2", *flags, environ=environ) as running:
        yield running


@pytest.fixture(scope="module")
def answers() -> list[str]:
    """Return the headers and bodies of all answers so far."""
    return []


@pytest.fixture(scope="module")
def client(server, answers) -> Iterator[httpx.Client]:
    """Return a client that keeps what it is answered."""

    def record(response: httpx.Response) -> None:
        response.read()
        answers.append(f"{response.headers}{response.content!r}")

    with httpx.Client(base_url=server.http, timeout=60, event_hooks={"response": [record]}) as made:
        yield made


@pytest.fixture(scope="module")
def channel(server) -> Iterator[grpc.Channel]:
    """Return a connection to the service."""
    with grpc.insecure_channel(server.grpc) as made:
        yield made


def sent_by(name: str | None, request_id: str = "") -> dict[str, str]:
    """Return the headers with the key of this name."""
    key = {} if name is None else {"Authorization": f"Bearer {SECRETS.get(name, WRONG)}"}
    return {**key, "X-Request-ID": request_id} if request_id else key


# ---------------------------------------------------------------------- scopes

HTTP: dict[tuple[str, str], str] = {
    ("POST", "/classify"): "infer",
    ("POST", "/v1/segment"): "infer",
    ("POST", f"/v2/models/{MODEL}/infer"): "infer",
    ("POST", "/"): "infer",
    ("POST", f"/models/{MODEL}"): "infer",
    ("POST", f"/predictions/{MODEL}"): "infer",
    ("POST", "/invocations"): "infer",
    ("POST", "/predict"): "infer",
    ("GET", "/models"): "models",
    ("GET", f"/models/{MODEL}"): "models",
    ("GET", "/v2/models"): "models",
    ("GET", f"/v2/models/{MODEL}"): "models",
    ("GET", f"/v2/models/{MODEL}/config"): "models",
    ("GET", f"/v2/models/{MODEL}/ready"): "models",
    ("GET", "/v2/models/stats"): "models",
    ("POST", "/v2/repository/index"): "models",
    ("POST", "/v2/repository/models/absent/load"): "control",
    ("POST", "/v2/repository/models/absent/unload"): "control",
    ("GET", "/metrics"): "metrics",
}
"""The scope of each call over HTTP."""


@pytest.mark.parametrize(("call", "scope"), HTTP.items(), ids=str)
def test_a_call_over_http_needs_its_scope_and_no_other(client, call, scope):
    statuses = {name: client.request(*call, headers=sent_by(name)).status_code for name in SCOPES}
    assert {name for name, status in statuses.items() if status == 403} == {*SCOPES} - {scope}
    assert statuses[scope] != 401


def calls(channel: grpc.Channel) -> dict[str, list[tuple[Callable, Any]]]:
    """Return methods with their requests, by scope."""
    twins, v2 = pb_grpc.TwinsStub(channel), oip_grpc.GRPCInferenceServiceStub(channel)
    return {
        "infer": [
            (twins.Classify, pb.ClassifyRequest(image=b"text")),
            (twins.ClassifyStream, iter([])),
            (v2.ModelInfer, oip.ModelInferRequest(model_name=MODEL)),
            (v2.ModelStreamInfer, iter([])),
        ],
        "models": [
            (twins.ListModels, pb.ListModelsRequest()),
            (v2.ModelMetadata, oip.ModelMetadataRequest(name=MODEL)),
            (v2.ModelConfig, oip.ModelConfigRequest(name=MODEL)),
            (v2.RepositoryIndex, oip.RepositoryIndexRequest()),
        ],
        "control": [
            (v2.RepositoryModelLoad, oip.RepositoryModelLoadRequest(model_name="absent")),
            (v2.RepositoryModelUnload, oip.RepositoryModelUnloadRequest(model_name="absent")),
        ],
    }


def status_of(method: Callable, request: Any, name: str | None, request_id: str = "") -> grpc.StatusCode:
    """Return the status of a call with the key of this name."""
    metadata = [(each.lower(), value) for each, value in sent_by(name, request_id).items()]
    try:
        found = method(request, metadata=metadata, timeout=60)
        if isinstance(found, grpc.Call):
            list(found)  # type: ignore[call-overload]  # a stream
    except grpc.RpcError as error:
        return error.code()  # type: ignore[attr-defined]
    return grpc.StatusCode.OK


@pytest.mark.parametrize("scope", ["infer", "models", "control"])
def test_a_call_over_grpc_needs_its_scope_and_no_other(channel, scope):
    for method, request in calls(channel)[scope]:
        statuses = {name: status_of(method, request, name) for name in SCOPES}
        refused = {name for name, status in statuses.items() if status is grpc.StatusCode.PERMISSION_DENIED}
        assert refused == {*SCOPES} - {scope}
        assert statuses[scope] is not grpc.StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("name", [None, "nobody", "old"])
def test_no_key_a_wrong_one_and_one_that_has_expired_open_nothing(client, channel, name):
    for call in HTTP:
        assert client.request(*call, headers=sent_by(name)).status_code == 401
    for method, request in (each for group in calls(channel).values() for each in group):
        assert status_of(method, request, name) is grpc.StatusCode.UNAUTHENTICATED


def test_a_key_of_the_variable_opens_everything(client):
    for call in HTTP:
        assert client.request(*call, headers=sent_by("operator")).status_code not in (401, 403)


@pytest.mark.parametrize(
    "path", ["/livez", "/readyz", "/healthz", "/ping", "/v2", "/v2/health/live", "/v2/health/ready", "/", "/docs"]
)
def test_health_and_the_description_of_the_service_need_no_key(client, path):
    assert client.get(path).status_code == 200


# ---------------------------------------------------------------------- orders


def order_line(server: Server, request_id: str) -> dict[str, str]:
    """Return the one log line of an order."""
    line = server.wait_for("model order", request_id=request_id)
    assert len(server.events("model order", request_id=request_id)) == 1
    return line


ORDERS = {
    ("control", MODEL): ("control", "allowed", "ok"),
    ("control", "absent"): ("control", "failed", "unknown_model"),
    ("infer", MODEL): ("infer", "forbidden", "forbidden"),
    ("nobody", MODEL): ("", "forbidden", "unauthenticated"),
}
"""The key, the outcome and the code in the line of an order, by whose key it has and its model."""


@pytest.mark.parametrize(("name", "model"), ORDERS, ids=str)
def test_an_order_is_logged_with_whose_it_was_and_what_came_of_it(server, client, channel, name, model):
    client.post(f"/v2/repository/models/{model}/load", headers=sent_by(name, f"http-{name}-{model}"))
    method = oip_grpc.GRPCInferenceServiceStub(channel).RepositoryModelLoad
    status_of(method, oip.RepositoryModelLoadRequest(model_name=model), name, f"grpc-{name}-{model}")
    for protocol in ("http", "grpc"):
        line = order_line(server, f"{protocol}-{name}-{model}")
        assert (line["key"], line["outcome"], line["code"]) == ORDERS[name, model]
        named = "" if protocol == "grpc" and not line["key"] else model  # no message is received without a known key
        assert (line["order"], line["model"], line["client"]) == ("load", named, "127.0.0.1")


def test_the_line_names_the_version_and_the_choice_of_a_default(server, client):
    body = {"parameters": {"version": "1", "default": True}}
    headers = sent_by("control", "choice")
    client.post(f"/v2/repository/models/{MODEL}/load", json=body, headers=headers).raise_for_status()
    line = order_line(server, "choice")
    assert (line["order"], line["version"], line["outcome"]) == ("default", "1", "allowed")


# ---------------------------------------------------------------------- the file


def test_every_frontend_follows_the_file_and_keeps_the_keys_if_it_breaks(server, client, keys_path):
    new = Key("new", digest(SECRETS["infer"] + "-next"), ("models",))
    key_file.write(keys_path, [*KEYS, new])
    for process in ("frontend-0", "frontend-1"):
        server.wait_for("keys read", process=process)
    headers = {"X-API-Key": SECRETS["infer"] + "-next"}
    assert client.get("/models", headers=headers).status_code == 200
    keys_path.write_text("[[keys]")
    for process in ("frontend-0", "frontend-1"):
        server.wait_for("the keys file is broken; the keys from before are accepted", process=process)
    assert client.get("/models", headers=headers).status_code == 200
    key_file.write(keys_path, KEYS)
    wait_until(lambda: client.get("/models", headers=headers).status_code == 401, what="the key is refused")


def test_a_file_that_is_broken_at_the_start_ends_it_with_the_reason(tmp_path):
    (tmp_path / "keys.toml").write_text("[[keys]\n")
    with Server("--keys-file", str(tmp_path / "keys.toml"), wait=False) as server:
        assert server.process.wait(60) == 2
        assert "keys.toml: cannot read the keys" in server.log()


# ---------------------------------------------------------------------- secrets


@pytest.fixture
def used(server, client, channel, cat):
    """Make good and bad calls with every key."""
    for name in (*SECRETS, "nobody"):
        client.post("/classify", content=cat, headers=sent_by(name))
        client.post("/classify", content=b"text", headers={"X-API-Key": SECRETS.get(name, WRONG)})
        client.get("/metrics", headers=sent_by(name))
        status_of(pb_grpc.TwinsStub(channel).Classify, pb.ClassifyRequest(image=cat), name, f"last-{name}")
    server.wait_for("request", request_id="last-nobody")


@pytest.mark.usefixtures("used")
def test_no_key_is_in_the_log_an_answer_a_file_a_command_line_or_an_environment(server, folder, answers):
    children = psutil.Process(server.process.pid).children(recursive=True)
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(children) >= 3
    assert files
    seen = {
        "log": server.log(),
        "answers": "".join(answers),
        "command lines": str([server.process.args, *(child.cmdline() for child in children)]),
        "environments": str([child.environ() for child in children]),
        "files": str([path.read_bytes() for path in files]),
    }
    hashes = [digest(secret).hex() for secret in SECRETS.values()]
    for secret in (*SECRETS.values(), WRONG, *hashes):
        assert [where for where, text in seen.items() if secret in text] == []
