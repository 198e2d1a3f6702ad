"""Traces of the running service, as a real receiver of OTLP over loopback gets them."""

import io
import re
from concurrent.futures import ThreadPoolExecutor

import grpc
import httpx
import pytest
from PIL import Image

from service.metric_series import STAGES
from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc
from service.tracing.context import new_span_id, new_trace_id, parse
from tests.otlp import GrpcReceiver, HttpReceiver, Received
from tests.prometheus import Prometheus, free_port, needs_prometheus
from tests.server import Server, wait_until

NAMES = {"classify", "admit", "image", *STAGES, "encode", "respond", "batch", "forward"}
EPSILON_S = 1e-6  # the times of timings, metrics and spans differ by rounding alone


@pytest.fixture(scope="module")
def receiver():
    with GrpcReceiver() as running:
        yield running


@pytest.fixture(scope="module")
def traced(receiver):
    """A service that decodes images of more than a megapixel in a process."""
    flags = ("--otlp-endpoint", receiver.endpoint, "--isolate-pixels", "1000000")
    with Server(*flags, environ={"OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test"}) as running:
        yield running


@pytest.fixture(scope="module")
def stub(traced):
    with grpc.insecure_channel(traced.grpc) as channel:
        yield pb_grpc.TwinsStub(channel)


def sent(*, sampled: bool = True) -> tuple[str, str, str]:
    """Return a new `traceparent` with its trace id and its span id."""
    trace_id, span_id = new_trace_id(), new_span_id()
    return f"00-{trace_id}-{span_id}-{int(sampled):02x}", trace_id, span_id


def classify(server, image: bytes, headers: dict[str, str] | None = None, **query: str) -> httpx.Response:
    """Return the response to a request."""
    response = httpx.post(f"{server.http}/classify", content=image, headers=headers, params=query, timeout=60)
    response.raise_for_status()
    return response


def by_name(spans: list[Received]) -> dict[str, Received]:
    """Return the spans of a trace in which each name occurs once."""
    assert len({span.name for span in spans}) == len(spans)
    return {span.name: span for span in spans}


def timings(response: httpx.Response) -> dict[str, float]:
    """Return the Server-Timing of a response in milliseconds."""
    pairs = (each.split(";dur=") for each in response.headers["server-timing"].split(", "))
    return {name: float(value) for name, value in pairs}


@pytest.fixture(scope="module")
def found(traced, receiver, cat) -> tuple[httpx.Response, dict[str, Received], str]:
    """The response to a request with `traceparent`, its spans, and the span of its client."""
    header, trace_id, span_id = sent()
    response = classify(traced, cat, {"traceparent": header, "X-Request-ID": "traced-1"})
    return response, by_name(receiver.spans.wait_for(trace_id, *NAMES)), span_id


def test_a_request_has_all_spans_of_its_way_in_the_trace_of_its_client(found):
    _, spans, _ = found
    assert spans.keys() == NAMES


def test_spans_are_nested(found):
    _, spans, client = found
    parents = {name: span.parent_id for name, span in spans.items()}
    root, image, batch = (spans[name].span_id for name in ("classify", "image", "batch"))
    within_image = {*STAGES, "encode", "batch"}
    assert parents == {
        **dict.fromkeys(("admit", "image", "respond"), root),
        **dict.fromkeys(within_image, image),
        "forward": batch,
        "classify": client,
    }


def test_a_span_lies_within_its_parent(found):
    _, spans, _ = found
    by_id = {span.span_id: span for span in spans.values()}
    tolerance_ns = 2_000_000  # two processes map their clocks to Unix time
    for span in spans.values():
        if parent := by_id.get(span.parent_id):
            assert parent.began_ns - tolerance_ns <= span.began_ns <= span.ended_ns <= parent.ended_ns + tolerance_ns


def test_stages_follow_each_other(found):
    _, spans, _ = found
    starts = [spans[name].began_ns for name in STAGES]
    assert starts == sorted(starts)


def test_the_spans_of_stages_last_as_long_as_the_response_says(found):
    response, spans, _ = found
    assert {name: spans[name].took_s * 1000 for name in STAGES} == pytest.approx(timings(response), abs=0.006)


def test_the_forward_pass_of_the_worker_is_the_stage_of_the_frontend(found):
    _, spans, _ = found
    assert spans["forward"].took_s == pytest.approx(spans["infer"].took_s, abs=EPSILON_S)
    assert abs(spans["forward"].began_ns - spans["infer"].began_ns) < 2_000_000


def test_the_batch_is_linked_to_its_member_and_the_member_to_its_batch(found):
    _, spans, _ = found
    assert spans["batch"].links == (spans["image"].span_id,)
    assert spans["infer"].links == (spans["batch"].span_id,)


def test_each_process_names_itself(found):
    _, spans, _ = found
    assert (spans["classify"].process, spans["batch"].process) == ("frontend-0", "worker-0")
    assert spans["classify"].resource["service.name"] == "twins-serving"
    assert spans["classify"].resource["deployment.environment.name"] == "test"


def test_the_span_of_a_request_has_what_its_log_line_has(found, traced):
    _, spans, _ = found
    line = traced.wait_for("request", request_id="traced-1")
    root = spans["classify"]
    assert (line["trace_id"], line["span_id"]) == (root.trace_id, root.span_id)
    assert root.attributes["twins.request_id"] == "traced-1"
    assert root.attributes["twins.model"] == line["model"]
    assert (root.attributes["http.route"], root.attributes["twins.code"], root.kind) == ("/classify", "ok", 2)


def test_the_response_has_the_span_of_the_request(found):
    response, spans, _ = found
    answered = parse(response.headers["traceresponse"])
    assert (answered.trace_id, answered.span_id, answered.sampled) == (
        spans["classify"].trace_id,
        spans["classify"].span_id,
        True,
    )


def test_a_call_over_grpc_is_traced_alike(traced, receiver, stub, cat):
    header, trace_id, client = sent()
    response, call = stub.Classify.with_call(pb.ClassifyRequest(image=cat), metadata=[("traceparent", header)])
    spans = by_name(receiver.spans.wait_for(trace_id, "twins.v1.Twins/Classify", *(NAMES - {"classify"})))
    root = spans["twins.v1.Twins/Classify"]
    assert root.parent_id == client
    assert dict(call.trailing_metadata())["traceresponse"] == f"00-{trace_id}-{root.span_id}-01"
    durations = {name: getattr(response.timing, name) for name in STAGES}
    assert {name: spans[name].took_s for name in STAGES} == pytest.approx(durations, abs=EPSILON_S)


def test_each_request_of_a_stream_has_a_span_in_the_trace_of_the_client(traced, receiver, stub, cat):
    header, trace_id, client = sent()
    requests = [pb.ClassifyRequest(id=str(i), image=cat) for i in range(3)]
    assert len(list(stub.ClassifyStream(iter(requests), metadata=[("traceparent", header)]))) == 3
    roots = wait_until(lambda: all_of(of_kind(receiver, trace_id, 2), requests))
    assert {span.parent_id for span in roots} == {client}
    assert len({span.span_id for span in roots}) == 3


def test_requests_of_a_stream_without_a_trace_have_one_each(traced, receiver, stub, cat):
    before = len(receiver.spans.received)
    requests = [pb.ClassifyRequest(id=f"alone-{i}", image=cat) for i in range(3)]
    assert len(list(stub.ClassifyStream(iter(requests)))) == 3

    def roots() -> list[Received]:
        new = receiver.spans.received[before:]
        return all_of([span for span in new if span.attributes.get("twins.request_id") in IDS], IDS)

    assert len({span.trace_id for span in wait_until(roots)}) == len(IDS)


IDS = [f"alone-{i}" for i in range(3)]


def of_kind(receiver, trace_id: str, kind: int) -> list[Received]:
    """Return the spans of a trace of this kind, such as 2 for those of servers."""
    return [span for span in receiver.spans.of(trace_id) if span.kind == kind]


def test_a_large_image_has_the_span_of_its_decoder_process(traced, receiver):
    file = io.BytesIO()
    Image.new("RGB", (1500, 1000), "orange").save(file, "JPEG")
    header, trace_id, _ = sent()
    response = classify(traced, file.getvalue(), {"traceparent": header})
    spans = receiver.spans.wait_for(trace_id, *NAMES, "decoder")
    decoder, *_ = [span for span in spans if span.name == "decoder"]
    waits = [span.took_s for span in spans if span.name == "decode_queue"]
    decode, *_ = [span for span in spans if span.name == "decode"]
    assert decoder.attributes["pid"] not in (traced.pid("frontend-0"), traced.pid("worker-0"))
    assert decode.began_ns <= decoder.began_ns
    assert len(waits) == 2  # for a thread that looks at its size, and for a process
    assert sum(waits) * 1000 == pytest.approx(timings(response)["decode_queue"], abs=0.006)


def test_a_batch_of_several_requests_is_linked_to_each(traced, receiver, cat):
    rounds = (batches_of_many(traced, receiver, cat) for _ in range(10))
    batches, images, infer = next(found for found in rounds if max(len(batch.links) for batch in found[0]) > 1)
    assert {link for batch in batches for link in batch.links} == {image.span_id for image in images}
    assert all(batch.attributes["twins.batch.size"] == len(batch.links) for batch in batches)
    for batch in batches:
        assert {infer[member].links for member in batch.links} == {(batch.span_id,)}


def batches_of_many(traced, receiver, cat) -> tuple[list[Received], list[Received], dict[str, Received]]:
    """Send requests at once, and return the spans of batches and images, and those of the model by their image.

    On a busy machine the requests may arrive one by one, and then no two of them share a batch.
    """
    headers = [sent() for _ in range(24)]
    with ThreadPoolExecutor(24) as threads:
        list(threads.map(lambda header: classify(traced, cat, {"traceparent": header[0]}), headers))
    ids = {trace_id for _, trace_id, _ in headers}
    images = wait_until(lambda: all_of(of_traces(receiver, ids, "image"), headers), what="the images")
    batches = wait_until(lambda: linked_to_all(of_traces(receiver, ids, "batch"), headers), what="the batches")
    return batches, images, {span.parent_id: span for span in of_traces(receiver, ids, "infer")}


def all_of(spans: list[Received], expected: list) -> list[Received]:
    """Return the spans if there are as many as expected."""
    return spans if len(spans) == len(expected) else []


def linked_to_all(batches: list[Received], expected: list) -> list[Received]:
    """Return the batches if they have as many members as expected."""
    return batches if sum(len(batch.links) for batch in batches) == len(expected) else []


def of_traces(receiver, ids: set[str], name: str) -> list[Received]:
    """Return the spans of a name in several traces."""
    return [span for span in receiver.spans.received if span.trace_id in ids and span.name == name]


def test_an_image_that_fails_marks_its_span_and_that_of_its_request(traced, receiver):
    header, trace_id, _ = sent()
    response = httpx.post(f"{traced.http}/classify", content=b"no image", headers={"traceparent": header})
    spans = by_name(receiver.spans.wait_for(trace_id, "classify", "image"))
    assert spans["image"].error == spans["classify"].error == response.json()["code"] == "unsupported_media_type"


def test_a_request_that_its_client_does_not_record_is_not_recorded_here(traced, receiver, cat):
    header, trace_id, _ = sent(sampled=False)
    response = classify(traced, cat, {"traceparent": header, "X-Request-ID": "unsampled-1"})
    assert traced.wait_for("request", request_id="unsampled-1")["trace_id"] == trace_id
    assert parse(response.headers["traceresponse"]).sampled is False
    later, later_id, _ = sent()
    classify(traced, cat, {"traceparent": later})
    receiver.spans.wait_for(later_id, *NAMES)
    assert receiver.spans.of(trace_id) == []


def test_a_request_without_a_trace_begins_one(traced, receiver, cat):
    answered = parse(classify(traced, cat).headers["traceresponse"])
    root = by_name(receiver.spans.wait_for(answered.trace_id, *NAMES))["classify"]
    assert (root.span_id, root.parent_id) == (answered.span_id, "")


def test_a_malformed_traceparent_is_ignored(traced, receiver, cat):
    answered = parse(classify(traced, cat, {"traceparent": "00-nonsense-01"}).headers["traceresponse"])
    assert by_name(receiver.spans.wait_for(answered.trace_id, *NAMES))["classify"].parent_id == ""


def test_requests_over_one_connection_do_not_inherit_each_others_trace(server, cat):
    with httpx.Client(base_url=server.http) as client:
        header, trace_id, _ = sent()
        client.post("/classify", content=cat, headers={"traceparent": header, "X-Request-ID": "with-1"})
        response = client.post("/classify", content=cat, headers={"X-Request-ID": "without-1"})
        assert server.wait_for("request", request_id="with-1")["trace_id"] == trace_id
        assert "trace_id" not in server.wait_for("request", request_id="without-1")
        assert "traceresponse" not in response.headers


def test_exemplars_in_openmetrics_lead_to_traces(traced, receiver, cat):
    header, trace_id, _ = sent()
    classify(traced, cat, {"traceparent": header})

    def lines() -> list[str]:
        response = httpx.get(f"{traced.http}/metrics", headers={"Accept": "application/openmetrics-text"})
        assert response.text.endswith("# EOF\n")
        return [line for line in response.text.splitlines() if f'# {{trace_id="{trace_id}"}}' in line]

    found = wait_until(lines, what="the exemplars")
    spans = by_name(receiver.spans.wait_for(trace_id, *NAMES))
    values = {
        re.search('stage="(.*?)"', line)[1]: float(line.split("} ")[-1].split(" ")[0])
        for line in found
        if line.startswith("twins_stage_duration_seconds_bucket")
    }
    assert values == pytest.approx({name: spans[name].took_s for name in STAGES}, abs=EPSILON_S)
    (request,) = [line for line in found if line.startswith("twins_request_duration_seconds_bucket")]
    assert float(request.split("} ")[-1].split(" ")[0]) == pytest.approx(spans["classify"].took_s, abs=EPSILON_S)


@needs_prometheus
def test_a_real_prometheus_stores_the_exemplars(traced, cat, tmp_path):
    header, trace_id, _ = sent()
    with Prometheus(tmp_path, traced.http.removeprefix("http://"), "--enable-feature=exemplar-storage") as prometheus:
        classify(traced, cat, {"traceparent": header})
        query = {"query": "twins_stage_duration_seconds_bucket", "start": 0, "end": 2**31}

        def stored() -> bool:
            answer = httpx.get(f"{prometheus.base}/api/v1/query_exemplars", params=query).json()
            ids = [each["labels"]["trace_id"] for series in answer["data"] for each in series["exemplars"]]
            return trace_id in ids

        wait_until(stored, what="the exemplar in Prometheus")


def test_traces_over_http_arrive_and_what_is_left_is_sent_at_the_end(cat):
    with HttpReceiver() as over_http:
        with Server("--otlp-endpoint", over_http.endpoint, "--otlp-protocol", "http") as server:
            answered = parse(classify(server, cat).headers["traceresponse"])
            assert server.stop() == 0
        assert {span.name for span in over_http.spans.of(answered.trace_id)} == NAMES


def test_a_dead_receiver_costs_no_answers_and_its_losses_are_counted(cat):
    with Server(
        "--otlp-endpoint", f"http://127.0.0.1:{free_port()}", environ={"OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    ) as server:
        for _ in range(10):
            assert classify(server, cat).elapsed.total_seconds() < 5
        server.wait_for("traces cannot be sent; requests go on without them", process="frontend-0")
        wait_until(lambda: server.metric("twins_spans_lost_total", process="frontend-0") >= 10, what="the lost spans")
        assert server.stop() == 0
