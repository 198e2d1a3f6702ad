"""Run the examples in the docstrings of `twins_client`, and call a service in every way: `python own.py HTTP GRPC`.

It runs in an environment of its own, which has neither the server nor PyTorch.
"""

import asyncio
import doctest
import io
import json
import sys
from pathlib import Path

import numpy as np
import twins_client
import twins_client.grpc
import twins_client.http
import twins_client.methods
from PIL import Image
from twins_client import AsyncClient, AsyncGrpcClient, Client, GrpcClient, Retry, TwinsError

CAT = Path("examples/cat.jpg")


def examples(http, grpc):
    """Return the numbers of the examples that were tried and that failed, with the addresses of a service."""
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner()
    finder = doctest.DocTestFinder(parser=parser)
    with Client(http) as client:
        names = {**vars(twins_client), "Client": Client, "GrpcClient": GrpcClient, "asyncio": asyncio, "client": client}
        for module in (twins_client, twins_client.http, twins_client.methods, twins_client.grpc):
            for test in finder.find(module, extraglobs=names):
                for each in test.examples:
                    each.source = each.source.replace("http://localhost:8000", http).replace("localhost:8001", grpc)
                runner.run(test)
    return [runner.tries, runner.failures]


def answers(client):
    """Return the answers of a client that waits."""
    array = np.asarray(Image.open(CAT).convert("RGB"))
    inputs = [CAT, str(CAT), CAT.read_bytes(), CAT.open("rb"), io.BytesIO(CAT.read_bytes()), array, Image.open(CAT)]
    segmented, found = client.segment(CAT), client.detect(CAT, threshold=0.0)
    masks = [each.mask for each in found.objects]
    return {
        "labels": [client.classify(each).best.label for each in inputs],
        "classes": len(client.classify(CAT, top_k=3).predictions),
        "mask": [
            list(segmented.mask.shape),
            int((segmented.mask >= 0).sum()),
            sum(r.pixels for r in segmented.regions),
        ],
        "regions": all(int(each.mask.sum()) == each.pixels for each in segmented.regions),
        "boxes": list(found.boxes.shape) == [len(found.objects), 4],
        "masks": all(mask is not None and mask.shape == found.size for mask in masks),
        "embedding": list(client.embed(CAT).vector.shape),
        "models": [each["name"] for each in client.models()],
        "errors": [error(lambda: client.classify(b"no image")), error(lambda: client.classify(CAT, model="nothing"))],
        "folder": [[each.path.name, type(each.result).__name__] for each in client.map("classify", "examples")],
    }


async def answers_async(client):
    """Return the answers of a client with coroutines."""
    async with client:
        segmented, found = await client.segment(CAT), await client.detect(CAT, threshold=0.0)
        return {
            "label": (await client.classify(CAT)).best.label,
            "mask": list(segmented.mask.shape),
            "boxes": list(found.boxes.shape) == [len(found.objects), 4],
            "embedding": list((await client.embed(CAT, normalize=True)).vector.shape),
            "models": [each["name"] for each in await client.models()],
            "folder": [each.path.name async for each in client.map("classify", "examples")],
        }


def error(call):
    """Return the code of the error that a call raises."""
    try:
        call()
    except TwinsError as raised:
        return raised.code
    return None


async def of_async(http, grpc):
    """Return the answers of both clients with coroutines."""
    return {
        "http": await answers_async(AsyncClient(http)),
        "grpc": await answers_async(AsyncGrpcClient(grpc)),
    }


def main(http, grpc):
    """Print everything as JSON."""
    with Client(http) as over_http, GrpcClient(grpc) as over_grpc:
        found = {
            "examples": examples(http, grpc),
            "http": answers(over_http),
            "grpc": answers(over_grpc),
            "async": asyncio.run(of_async(http, grpc)),
        }
    with Client("http://127.0.0.1:9", retry=Retry(attempts=2, first_wait_s=0.01)) as nowhere:
        found["unreachable"] = error(lambda: nowhere.classify(CAT))
    found["modules"] = sorted({"torch", "service", "twins"} & sys.modules.keys())
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
