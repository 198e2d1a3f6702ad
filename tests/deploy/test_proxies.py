"""nginx and Envoy with the committed configuration before two real instances, one of which is killed."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import grpc
import httpx
import pytest

from service.pb.inference import grpc_service_pb2 as oip
from service.pb.inference import grpc_service_pb2_grpc as oip_grpc
from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from service.settings import Settings
from tests.certificates import Authority
from tests.deploy.proxies import PROXIES, Instance, started
from tests.load import Tally, post_until
from tests.server import wait_until
from tools.documents import DOCS, blocks

RETRYING = next(text for language, text in blocks(DOCS / "proxies.md") if language == "json" and "retryPolicy" in text)
"""The policy by which a client sends calls again, from the document."""


@pytest.fixture(scope="module", params=PROXIES)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def proxy(kind, instances, tmp_path_factory):
    """Start one of the proxies."""
    started(instances)
    with PROXIES[kind](tmp_path_factory.mktemp(kind), instances) as running:
        yield running


def channel(proxy) -> grpc.aio.Channel:
    """Return a channel to a proxy. Where the proxy does not send calls again, the client does."""
    options = [("grpc.service_config", RETRYING)] if proxy.name == "nginx" else []
    return grpc.aio.insecure_channel(proxy.grpc, options=options)


def lines(instance: Instance, name: str, **fields: object) -> list[dict]:
    """Return the log events of this name of an instance, since it was last started."""
    return instance.server.events(name, **fields)


# ------------------------------------------------------------------ what the service learns of the client


def asked(pair, request_id: str) -> dict:
    """Return the log line of a request."""
    found = wait_until(
        lambda: [line for instance in pair for line in lines(instance, "request", request_id=request_id)], what="a line"
    )
    assert len(found) == 1
    return found[0]


def test_the_log_has_the_clients_address_and_request_id_over_http(proxy, pair, cat):
    with httpx.Client(transport=httpx.HTTPTransport(local_address="127.0.0.7")) as client:
        answer = client.post(f"{proxy.http}/classify", content=cat, headers={"X-Request-ID": f"{proxy.name}-own"})
    assert answer.headers.get_list("x-request-id") == [f"{proxy.name}-own"]
    assert asked(pair, f"{proxy.name}-own")["client"] == "127.0.0.7"


@asynccontextmanager
async def relay(target: str, source: str) -> AsyncIterator[str]:
    """Pass connections on to a target from another address of this machine, which gRPC's clients cannot choose."""
    host, port = target.split(":")

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, back = await asyncio.open_connection(host, int(port), local_addr=(source, 0))
        await asyncio.gather(copy(reader, back), copy(onward, writer))

    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_the_log_has_the_clients_address_and_request_id_over_grpc(proxy, pair, cat):
    name = f"{proxy.name}-own-call"
    async with relay(proxy.grpc, "127.0.0.7") as target, grpc.aio.insecure_channel(target) as opened:
        metadata = (("x-request-id", name), ("x-forwarded-for", "203.0.113.9"))  # by the client, which is not trusted
        await pb_grpc.TwinsStub(opened).Classify(pb.ClassifyRequest(image=cat), metadata=metadata)
    assert (await asyncio.to_thread(asked, pair, name))["client"] == "127.0.0.7"


def test_a_request_without_an_id_gets_one(proxy, pair):
    assert len(httpx.get(f"{proxy.http}/models").headers["x-request-id"]) >= 32


def test_a_body_that_is_too_large_is_refused(proxy, pair):
    answer = httpx.post(f"{proxy.http}/classify", content=bytes(Settings().max_body_bytes + 1), timeout=60)
    assert answer.status_code == 413


async def test_a_large_body_arrives_whole(proxy, pair, cat):
    name, large = f"{proxy.name}-large", cat + bytes(12 * 2**20)  # what follows the image is not read
    async with httpx.AsyncClient(timeout=60) as client:
        answer = await client.post(f"{proxy.http}/classify", content=large, headers={"X-Request-ID": name})
    assert answer.status_code == 200
    assert (await asyncio.to_thread(asked, pair, name))["bytes_in"] == len(large)
    async with channel(proxy) as opened:
        await pb_grpc.TwinsStub(opened).Classify(pb.ClassifyRequest(image=large))


def test_metrics_are_not_passed_on(proxy, pair):
    assert httpx.get(f"{proxy.http}/metrics").status_code == 404


# ------------------------------------------------------------------ an instance that ends


async def call_until(stop, proxy, image: bytes, tally: Tally) -> None:
    """Send one gRPC call after another through a proxy."""
    async with channel(proxy) as opened:
        while not stop():
            try:
                await pb_grpc.TwinsStub(opened).Classify(pb.ClassifyRequest(image=image), timeout=60)
            except grpc.aio.AioRpcError as error:
                tally.lost.append(f"{error.code()} {error.details()}")
                continue
            tally.answers["OK"] += 1


async def stream_until(stop, proxy, image: bytes, tally: Tally) -> None:
    """Send images in streams. Send those without an answer again, on a new stream, as docs/grpc.md says."""
    waiting: dict[str, int] = {}
    number = 0

    async def requests():
        nonlocal number
        for name in list(waiting):
            yield pb.ClassifyRequest(image=image, id=name)
        while not stop():
            name = str(number := number + 1)
            waiting[name] = 0
            yield pb.ClassifyRequest(image=image, id=name)
            while len(waiting) >= 4:
                await asyncio.sleep(0.001)

    async with channel(proxy) as opened:
        while not stop() or waiting:
            try:
                async for item in pb_grpc.TwinsStub(opened).ClassifyStream(requests(), timeout=60):
                    if item.error.code in ("unavailable", "cancelled"):
                        continue
                    waiting.pop(item.id)
                    tally.answers[item.error.code or "OK"] += 1
            except grpc.aio.AioRpcError as error:
                again = error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)
                tally.answers["streams opened again"] += again
                if not again:
                    tally.lost.append(f"{error.code()} {error.details()}")
                    return


async def under_load(proxy, pair, cat, end) -> dict[str, Tally]:
    """Keep both instances busy over each protocol, end one, and go on for a while. Return what came back."""
    ended = asyncio.Event()
    tallies = {"http": Tally(), "grpc": Tally(), "stream": Tally()}
    clients = [
        *(post_until(ended.is_set, proxy.http, cat, tallies["http"]) for _ in range(8)),
        *(call_until(ended.is_set, proxy, cat, tallies["grpc"]) for _ in range(8)),
        *(stream_until(ended.is_set, proxy, cat, tallies["stream"]) for _ in range(2)),
    ]
    running = asyncio.gather(*clients)
    for instance in pair:
        before = len(lines(instance, "request"))
        await asyncio.to_thread(wait_until, lambda i=instance, b=before: len(lines(i, "request")) > b + 20, what="load")
    await asyncio.to_thread(end)
    before = len(lines(pair[1], "request"))
    await asyncio.to_thread(wait_until, lambda: len(lines(pair[1], "request")) > before + 60, what="the other one")
    ended.set()
    await asyncio.wait_for(running, 60)
    return tallies


async def test_an_instance_that_is_killed_under_load_costs_no_request(proxy, pair, cat):
    tallies = await under_load(proxy, pair, cat, pair[0].kill)
    assert {name: tally.lost for name, tally in tallies.items()} == {"http": [], "grpc": [], "stream": []}
    assert set(tallies["http"].answers) == {200}
    assert set(tallies["grpc"].answers) == {"OK"}
    assert tallies["stream"].answers["OK"] > 0


@pytest.mark.heavy
async def test_an_instance_that_is_stopped_under_load_costs_no_request(proxy, pair, cat):
    tallies = await under_load(proxy, pair, cat, pair[0].server.stop)
    assert {name: tally.lost for name, tally in tallies.items()} == {"http": [], "grpc": [], "stream": []}
    assert set(tallies["http"].answers) == {200}
    assert set(tallies["grpc"].answers) == {"OK"}


def use_both(proxy, pair) -> None:
    """Wait until the proxy sends requests to both instances, since it leaves one alone for a while after a failure."""
    before = [len(lines(instance, "request")) for instance in pair]

    def used() -> bool:
        httpx.get(f"{proxy.http}/models")
        with grpc.insecure_channel(proxy.grpc) as opened:
            pb_grpc.TwinsStub(opened).ListModels(pb.ListModelsRequest(), timeout=10)
        return all(
            {line["protocol"] for line in lines(instance, "request")[count:]} == {"http", "grpc"}
            for instance, count in zip(pair, before, strict=True)
        )

    wait_until(used, what="requests to both instances")


async def order(proxy, protocol: str, name: str) -> bool:
    """Order through a proxy to load version 1 of the model. Return whether it was carried out."""
    if protocol == "http":
        async with httpx.AsyncClient(timeout=60) as client:
            body = {"parameters": {"version": "1"}}
            url = f"{proxy.http}/v2/repository/models/pets/load"
            return (await client.post(url, json=body, headers={"X-Request-ID": name})).status_code == 200
    request = oip.RepositoryModelLoadRequest(model_name="pets")
    request.parameters["version"].string_param = "1"
    async with channel(proxy) as opened:
        try:
            stub = oip_grpc.GRPCInferenceServiceStub(opened)
            await stub.RepositoryModelLoad(request, metadata=(("x-request-id", name),), timeout=60)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            return False
    return True


async def classified(proxy, cat) -> int:
    async with httpx.AsyncClient(timeout=60) as client:
        return (await client.post(f"{proxy.http}/classify", content=cat)).status_code


async def test_requests_in_a_dead_instance_are_sent_again_and_orders_are_not(proxy, pair, cat):
    dying, living = pair
    await asyncio.to_thread(use_both, proxy, pair)
    dying.freeze_worker()
    before = sum(len(lines(instance, "model order starts", action="load")) for instance in pair)
    names = {f"{proxy.name}-{protocol}-{n}": protocol for n in range(4) for protocol in ("http", "grpc")}
    orders = {name: asyncio.create_task(order(proxy, protocol, name)) for name, protocol in names.items()}
    images = asyncio.gather(*(classified(proxy, cat) for _ in range(8)))

    def all_arrived() -> bool:
        arrived = sum(len(lines(instance, "model order starts", action="load")) for instance in pair)
        return arrived >= before + len(orders) and dying.server.metric("twins_in_flight_images") > 0

    await asyncio.to_thread(wait_until, all_arrived, what="orders and images in both instances")
    dying.kill()
    carried_out = {name for name, task in orders.items() if await task}
    assert await images == [200] * 8
    logged = Counter(line["request_id"] for line in lines(living, "model order", order="load"))
    mine = {name: count for name, count in logged.items() if name in names}
    assert len(carried_out) < len(orders), "no order was in the instance that died"
    assert mine == dict.fromkeys(carried_out, 1)


# ------------------------------------------------------------------ answers of the service itself


@pytest.fixture(scope="module")
def limited():
    """Start two instances that take one image in a long time."""
    found = [Instance("--model", "twins_svt_nano", "--client-images-per-s", "0.01") for _ in range(2)]
    started(found)
    yield found
    for instance in found:
        instance.server.__exit__()


@pytest.mark.heavy
def test_a_refusal_with_a_time_to_wait_reaches_the_client_and_is_not_sent_again(kind, limited, tmp_path, cat):
    def counted() -> float:
        return sum(instance.server.metric("twins_requests_total") for instance in limited)

    with PROXIES[kind](tmp_path, limited) as proxy:
        before = counted()
        answers = [httpx.post(f"{proxy.http}/classify", content=cat) for _ in range(4)]
        refused = [answer for answer in answers if answer.status_code == 429]
        assert len(refused) >= 2
        assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)
        assert counted() == before + len(answers)


# ------------------------------------------------------------------ TLS


def option(language: str, marker: str) -> str:
    """Return a block of the document that has the marker."""
    return next(text for kind, text in blocks(DOCS / "proxies.md") if kind == language and marker in text)


def with_tls(kind: str, text: str, folder) -> str:
    """Return a configuration in which connections to the service use TLS, by what the document says."""
    paths = {name: str(folder / name) for name in ("ca.pem", "proxy.crt", "proxy.key")}
    if kind == "nginx":
        text = text.replace("http://twins_http", "https://twins_http").replace("grpc://", "grpcs://")
        added = option("nginx", "proxy_ssl_verify")
    else:
        added = option("yaml", "UpstreamTlsContext")
    for name, path in paths.items():
        added = added.replace(f"/etc/twins/{name}", path)
    if kind == "nginx":
        return added + text
    indented = "".join(f"      {line}\n" for line in added.splitlines())
    return text.replace("      type: STATIC\n", "      type: STATIC\n" + indented)


@pytest.fixture(scope="module")
def secured(tmp_path_factory):
    """Start two instances with mutual TLS, and return them with the folder of the proxy's files."""
    folder = tmp_path_factory.mktemp("tls")
    authority = Authority(folder, "ca")
    service, _ = authority.issue("service"), authority.issue("proxy")
    flags = ("--tls-certificate", service.certificate, "--tls-key", service.key, "--tls-client-ca", authority.file)
    found = [Instance("--model", "twins_svt_nano", *map(str, flags)) for _ in range(2)]
    started(found)
    yield found, folder
    for instance in found:
        instance.server.__exit__()


@pytest.mark.heavy
def test_connections_to_the_service_can_use_mutual_tls(kind, secured, tmp_path, cat):
    found, folder = secured
    with PROXIES[kind](tmp_path, found, lambda text: with_tls(kind, text, folder)) as proxy:
        assert httpx.post(f"{proxy.http}/classify", content=cat).status_code == 200
        with grpc.insecure_channel(proxy.grpc) as opened:
            pb_grpc.TwinsStub(opened).Classify(pb.ClassifyRequest(image=cat), timeout=30)
