"""gRPC, and its agreement with REST."""

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service.pb.twins.v1 import twins_pb2 as pb
from service.pb.twins.v1 import twins_pb2_grpc as pb_grpc


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(server.grpc, options=[("grpc.max_send_message_length", -1)]) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel):
    return pb_grpc.TwinsStub(channel)


def refusal(call) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def test_an_image_is_classified_and_its_id_returned(stub, cat):
    response = stub.Classify(pb.ClassifyRequest(image=cat, id="7", top_k=3))
    assert response.predictions[0].label == "cat"
    assert (response.id, response.model, len(response.predictions)) == ("7", "twins_svt_nano", 3)
    assert response.timing.infer > 0


def test_both_protocols_give_the_same_answer(server, stub, cat):
    over_http = httpx.post(f"{server.http}/classify", content=cat, params={"top_k": 13}).json()["predictions"]
    over_grpc = stub.Classify(pb.ClassifyRequest(image=cat, top_k=13)).predictions
    assert [p["class_id"] for p in over_http] == [p.class_id for p in over_grpc]
    assert [p["score"] for p in over_http] == pytest.approx([p.score for p in over_grpc], abs=1e-6)


QUESTIONS = {
    "an unknown model": ({"model": "nobody"}, {}, grpc.StatusCode.NOT_FOUND, 404),
    "an option out of range": ({"top_k": 0}, {}, grpc.StatusCode.INVALID_ARGUMENT, 400),
    "an option far out of range": ({"top_k": 1001}, {}, grpc.StatusCode.INVALID_ARGUMENT, 400),
    "no image": ({}, {"image": b""}, grpc.StatusCode.INVALID_ARGUMENT, 400),
    "not an image": ({}, {"image": b"hello"}, grpc.StatusCode.INVALID_ARGUMENT, 415),
    "a broken image": ({}, {"image": b"\xff\xd8\xff\xe0"}, grpc.StatusCode.INVALID_ARGUMENT, 422),
    "too many bytes": ({}, {"image": b"\xff\xd8\xff" + bytes(16 * 2**20)}, grpc.StatusCode.INVALID_ARGUMENT, 413),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_both_protocols_reject_the_same_requests(server, stub, cat, question):
    options, image, status, http_status = QUESTIONS[question]
    request = {"image": cat, **options, **image}
    error = refusal(lambda: stub.Classify(pb.ClassifyRequest(**request)))
    response = httpx.post(f"{server.http}/classify", content=request["image"], params=options)
    trailing = dict(error.trailing_metadata())
    assert (error.code(), response.status_code) == (status, http_status)
    assert trailing["twins-code"] == response.json()["code"]
    assert error.details() == response.json()["detail"]


def test_a_deadline_that_cannot_be_met_is_exceeded(stub, cat):
    assert refusal(lambda: stub.Classify(pb.ClassifyRequest(image=cat), timeout=0.001)).code() == (
        grpc.StatusCode.DEADLINE_EXCEEDED
    )


def test_a_stream_answers_every_request_by_its_id(stub, cat):
    images = [cat, b"no image", cat] * 30
    requests = (pb.ClassifyRequest(image=image, id=str(i)) for i, image in enumerate(images))
    answers = {response.id: response for response in stub.ClassifyStream(requests)}
    assert sorted(answers, key=int) == [str(i) for i in range(90)]
    assert all(answers[str(i)].WhichOneof("outcome") == ("error" if i % 3 == 1 else "result") for i in range(90))


def test_in_a_stream_a_fast_answer_arrives_before_a_slow_one(stub, cat):
    requests = [pb.ClassifyRequest(image=cat, id="slow"), pb.ClassifyRequest(image=b"x", id="quick")]
    assert [response.id for response in stub.ClassifyStream(iter(requests))] == ["quick", "slow"]


def test_the_request_id_is_returned(stub, cat):
    _, call = stub.Classify.with_call(pb.ClassifyRequest(image=cat), metadata=[("x-request-id", "mine")])
    assert dict(call.trailing_metadata())["x-request-id"] == "mine"


def test_an_id_that_is_too_long_is_rejected(stub, cat):
    error = refusal(lambda: stub.Classify(pb.ClassifyRequest(image=cat, id="a" * 129)))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_models_are_listed(stub):
    models = stub.ListModels(pb.ListModelsRequest()).models
    assert [(model.name, model.task, len(model.labels)) for model in models] == [
        ("twins_svt_nano", "classify", 13),
        ("twins_svt_nano_fpn", "segment", 13),
        ("twins_svt_nano_maskrcnn", "detect", 12),
    ]


def test_health_is_serving_for_the_server_and_the_service(channel):
    health = health_pb2_grpc.HealthStub(channel)
    for name in ("", "twins.v1.Twins"):
        assert (
            health.Check(health_pb2.HealthCheckRequest(service=name)).status == health_pb2.HealthCheckResponse.SERVING
        )


def test_health_of_an_unknown_service_is_not_found(channel):
    health = health_pb2_grpc.HealthStub(channel)
    request = health_pb2.HealthCheckRequest(service="nobody")
    assert refusal(lambda: health.Check(request)).code() == grpc.StatusCode.NOT_FOUND


def test_reflection_lists_the_services(channel):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    (response,) = stub.ServerReflectionInfo(iter([request]))
    names = {service.name for service in response.list_services_response.service}
    assert {"twins.v1.Twins", "grpc.health.v1.Health"} <= names


@pytest.mark.parametrize("method", ["Classify", "Segment", "Embed", "ListModels"])
def test_a_message_that_is_malformed_is_a_bad_request_and_counted(server, channel, method):
    before = server.metric("twins_requests_total", protocol="grpc", code="bad_request")
    error = refusal(lambda: channel.unary_unary(f"/twins.v1.Twins/{method}")(b"\xff\xff\xff"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert error.details() == "the request is not a valid protobuf message of this method"
    assert dict(error.trailing_metadata())["twins-code"] == "bad_request"
    assert server.metric("twins_requests_total", protocol="grpc", code="bad_request") == before + 1
    assert "Traceback" not in server.log()


def test_a_malformed_message_in_a_stream_fails_alone(channel, cat):
    stream = channel.stream_stream(
        "/twins.v1.Twins/ClassifyStream", response_deserializer=pb.ClassifyStreamResponse.FromString
    )
    answers = list(stream(iter([b"\xff\xff\xff", pb.ClassifyRequest(image=cat, id="good").SerializeToString()])))
    assert {answer.id: answer.WhichOneof("outcome") for answer in answers} == {"": "error", "good": "result"}
