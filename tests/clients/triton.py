"""Call a service with Triton's clients and print what they get, as JSON: `python triton.py HTTP GRPC IMAGE`.

It runs in an environment of its own, because the messages of both projects have the same names.
"""

import asyncio
import json
import queue
import sys
from functools import partial
from pathlib import Path

import numpy as np
import tritonclient.grpc as triton_grpc
import tritonclient.grpc.aio as triton_grpc_aio
import tritonclient.http as triton_http
import tritonclient.http.aio as triton_http_aio
from tritonclient.utils import InferenceServerException

MANY = 20  # images, more than a batch of the device has
MODEL, BROKEN = "twins_svt_nano", b"this is no image"


def image_input(library, images):
    """Return a BYTES tensor of encoded images."""
    tensor = library.InferInput("image", [len(images)], "BYTES")
    tensor.set_data_from_numpy(np.array(images, dtype=object))
    return [tensor]


def texts(array):
    """Return an array of bytes as lists of texts."""
    return np.vectorize(bytes.decode, otypes=[object])(array).tolist()


def describe(client):
    """Return what a synchronous client learns of the server and the model."""
    as_json = {"as_json": True} if isinstance(client, triton_grpc.InferenceServerClient) else {}
    metadata = client.get_model_metadata(MODEL, **as_json)
    configuration = client.get_model_config(MODEL, **as_json)
    index = client.get_model_repository_index(**as_json)
    statistics = client.get_inference_statistics(MODEL, **as_json)
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model ready": client.is_model_ready(MODEL),
        "other model ready": client.is_model_ready("nothing"),
        "extensions": client.get_server_metadata(**as_json)["extensions"],
        "inputs": [each["name"] for each in metadata["inputs"]],
        "outputs": [each["name"] for each in metadata["outputs"]],
        "batch": configuration.get("config", configuration)["max_batch_size"],
        "index": [(each["name"], each["state"]) for each in (index["models"] if isinstance(index, dict) else index)],
        "answered": int(statistics["model_stats"][0]["inference_stats"]["success"]["count"]),
    }


def infer(library, client, image):
    """Return the answers of a synchronous client."""
    one = client.infer(MODEL, image_input(library, [image]), request_id="mine")
    two = client.infer(MODEL, image_input(library, [image, BROKEN]))
    classes = [library.InferRequestedOutput("scores", class_count=2)]
    listed = client.infer(MODEL, image_input(library, [image]), outputs=classes)
    logits = client.infer(MODEL, image_input(library, [image]), outputs=[library.InferRequestedOutput("logits")])
    features = client.infer(MODEL, image_input(library, [image]), outputs=[library.InferRequestedOutput("features")])
    many = client.infer(MODEL, image_input(library, [image] * MANY))
    fast = client.infer(MODEL, image_input(library, [image]), priority=1, timeout=60_000_000)
    return {
        "id": one.get_response().get("id") if hasattr(one.get_response(), "get") else one.get_response().id,
        "labels": texts(one.as_numpy("labels")),
        "scores": one.as_numpy("scores").tolist(),
        "errors": texts(two.as_numpy("errors")),
        "class_ids": two.as_numpy("class_ids").tolist(),
        "classification": texts(listed.as_numpy("scores")),
        "logits": int(logits.as_numpy("logits").argmax()),
        "features": list(features.as_numpy("features").shape),
        "many": texts(many.as_numpy("labels"))[:: MANY - 1],
        "rows": len(many.as_numpy("labels")),
        "priority": texts(fast.as_numpy("labels")),
        "error": refused(partial(client.infer, MODEL, image_input(library, [BROKEN]))),
        "unknown": refused(partial(client.infer, "nothing", image_input(library, [image]))),
        "late": refused(partial(client.infer, MODEL, image_input(library, [image]), timeout=1)),
    }


def refused(call):
    """Return the status and the message of a call that fails."""
    try:
        call()
    except InferenceServerException as error:
        return [error.status(), error.message()]
    return None


def pixels(library, client, array):
    """Return the label of an image that is sent as pixels."""
    tensor = library.InferInput("pixels", array.shape, "UINT8")
    tensor.set_data_from_numpy(array)
    return texts(client.infer(MODEL, [tensor]).as_numpy("labels"))[0][0]


def stream(client, image):
    """Return the labels and the errors of a stream."""
    answers = queue.Queue()
    client.start_stream(callback=lambda result, error: answers.put((result, error)))
    for number, data in enumerate((image, BROKEN, image)):
        client.async_stream_infer(MODEL, image_input(triton_grpc, [data]), request_id=str(number))
    found = [answers.get(timeout=60) for _ in range(3)]
    client.stop_stream()
    labels = {result.get_response().id: texts(result.as_numpy("labels"))[0][0] for result, error in found if not error}
    return {"labels": labels, "errors": [error.message() for _, error in found if error]}


def control(client):
    """Return whether a model is ready after it is unloaded, and after it is loaded again."""
    client.unload_model(MODEL)
    unloaded = client.is_model_ready(MODEL)
    client.load_model(MODEL)
    return [unloaded, client.is_model_ready(MODEL)]


async def infer_async(library, address, image):
    """Return the label of an asynchronous client."""
    async with library.InferenceServerClient(address) as client:
        answer = await client.infer(MODEL, image_input(library, [image]))
        return texts(answer.as_numpy("labels"))[0][0]


def main(http, grpc, path):
    """Print everything."""
    image = Path(path).read_bytes()
    array = np.zeros((1, 64, 80, 3), np.uint8)
    with triton_http.InferenceServerClient(http) as over_http, triton_grpc.InferenceServerClient(grpc) as over_grpc:
        found = {
            "http": {**infer(triton_http, over_http, image), **describe(over_http)},
            "grpc": {**infer(triton_grpc, over_grpc, image), **describe(over_grpc)},
            "pixels": [pixels(triton_http, over_http, array), pixels(triton_grpc, over_grpc, array)],
            "stream": stream(over_grpc, image),
            "aio": [
                asyncio.run(infer_async(triton_http_aio, http, image)),
                asyncio.run(infer_async(triton_grpc_aio, grpc, image)),
            ],
            "shared memory": [
                refused(over_http.get_system_shared_memory_status),
                refused(over_grpc.get_system_shared_memory_status),
            ],
            "control": [control(over_http), control(over_grpc)],
            "trace": [refused(over_http.get_trace_settings), refused(over_grpc.get_trace_settings)],
        }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
