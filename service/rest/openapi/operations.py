"""The operations of the OpenAPI document that run no model: models, health and metrics."""

from typing import Any

from service.examples import CARD, MODEL_NAME, example
from service.rest.openapi.parts import HEADERS, TEXT, answer, path_parameter
from service.rest.openapi.refusals import OF_A_MODEL, OF_KEYS, OF_MODELS, problem
from service.rest.wire import ModelList, Readiness, Status, WorkerCount, listed
from twins.card import Card

MODELS: dict[str, Any] = {
    "parameters": HEADERS,
    "responses": {
        "200": answer(ModelList, "The served models", models=ModelList([listed(CARD)])),
        **problem(*OF_MODELS),
    },
}
MODEL: dict[str, Any] = {
    "parameters": [path_parameter("name", MODEL_NAME), *HEADERS],
    "responses": {"200": answer(Card, "The card of the model", card=CARD), **problem(*OF_A_MODEL)},
}
MODEL["responses"]["200"]["content"]["text/markdown"] = {  # models that ship
    "schema": TEXT,
    "examples": {"card": example("# twins_svt_nano\n\nA classifier of 13 classes.")},
}
STATUS: dict[str, Any] = {"responses": {"200": answer(Status, "The process is alive", alive=Status("alive"))}}
READY: dict[str, Any] = {
    "responses": {
        "200": answer(Readiness, "The service is ready for requests", ready=Readiness("ready", WorkerCount(2, 2))),
        "503": answer(
            Readiness,
            "The service is loading, failing or stopping",
            loading=Readiness("loading", WorkerCount(0, 2)),
            failing=Readiness("failing", WorkerCount(0, 1), {"worker-0": "no batch has succeeded for 30 s"}),
            stopping=Readiness("stopping", WorkerCount(2, 2)),
        ),
    }
}
METRICS: dict[str, Any] = {
    "responses": {
        "200": {
            "description": "The metrics in the Prometheus format",
            "content": {
                "text/plain": {"schema": TEXT, "examples": {"metrics": example("twins_workers_expected 2.0\n")}},
                "application/openmetrics-text": {
                    "schema": TEXT,
                    "examples": {"metrics": example("twins_workers_expected 2.0\n# EOF\n")},
                },
            },
        },
        **problem(*OF_KEYS),
    }
}
