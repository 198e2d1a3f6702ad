"""Record the trace of one request in a batch, and draw it for the documents: `python -m bench.trace`.

The service sends its spans to a receiver in this process, over gRPC on the loopback interface.
"""

import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
from PIL import Image

from service.tracing.context import TraceContext, new_span_id, new_trace_id
from tests.otlp import GrpcReceiver, Received
from tests.server import Server, wait_until
from tools.documents import ROOT

FILE = ROOT / "docs" / "images" / "trace.svg"
EXAMPLE = ROOT / "examples" / "cat.jpg"
SIDE = 1200  # pixels of the image, which a decoder process decodes
CLIENTS = 12
LABELS = 120  # points to the left of the spans, for their names
NAMES = {"segment", "admit", "image", "decode_queue", "decode", "decoder", "preprocess", "queue", "infer"} | {
    *("postprocess", "encode", "respond", "batch", "forward")
}
COLOURS = {"frontend-0": "#1f77b4", "worker-0": "#d62728", "decoder": "#2ca02c"}


def request(server: Server, image: bytes) -> str:
    """Send a request in a trace of its own, and return the id of the trace."""
    context = TraceContext(new_trace_id(), new_span_id(), sampled=True)
    headers = {"traceparent": context.header}
    httpx.post(f"{server.http}/segment", content=image, headers=headers, timeout=60).raise_for_status()
    return context.trace_id


def record() -> list[Received]:
    """Return the spans of a request that shared the device with others, of which it was the first of its batch."""
    file = io.BytesIO()
    Image.open(EXAMPLE).convert("RGB").resize((SIDE, SIDE)).save(file, "JPEG")
    flags = ("--isolate-pixels", "1000000", "--max-batch", "4")
    with GrpcReceiver() as receiver, Server("--otlp-endpoint", receiver.endpoint, *flags) as server:
        request(server, file.getvalue())  # starts the decoder process
        with ThreadPoolExecutor(CLIENTS) as threads:
            ids = list(threads.map(lambda _: request(server, file.getvalue()), range(CLIENTS)))

        def complete() -> list[list[Received]]:
            traces = [receiver.spans.of(trace_id) for trace_id in ids]
            return [spans for spans in traces if {span.name for span in spans} == NAMES]

        traces = wait_until(complete, what="a trace with a batch")
        return max(traces, key=lambda spans: max(len(span.links) for span in spans))


def draw(spans: Sequence[Received], path: Path) -> None:
    """Draw the spans over time, in the order of their nesting."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "trace", "svg.fonttype": "none"}
    from matplotlib import pyplot as plt
    from matplotlib.patches import Patch

    rows, first = nested(spans), min(span.began_ns for span in spans)
    figure, axis = plt.subplots(figsize=(8.4, 0.32 * len(rows) + 1.2), layout="constrained")
    for place, (span, depth) in enumerate(rows):
        colour = COLOURS["decoder" if span.name == "decoder" else span.process]
        began_ms, took_ms = (span.began_ns - first) / 1e6, span.took_s * 1e3
        axis.barh(place, max(took_ms, 0.05), left=began_ms, height=0.7, color=colour)
        links = f", {len(span.links)} links" if span.name == "batch" else ""
        beside = {"textcoords": "offset points", "va": "center", "fontsize": "small"}
        axis.annotate(f"{took_ms:.2f} ms{links}", (began_ms + took_ms, place), xytext=(4, 0), **beside)
        axis.annotate(span.name, (0, place), xytext=(14 * depth - LABELS, 0), **beside)
    axis.set(yticks=[], xlabel="milliseconds since the headers arrived", ylim=(len(rows) - 0.4, -0.6))
    axis.set_xlim(0, 1.18 * max(span.ended_ns - first for span in spans) / 1e6)
    axis.spines[["top", "right", "left"]].set_visible(False)
    handles = [Patch(color=colour, label=name) for name, colour in COLOURS.items()]
    axis.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False, fontsize="small")
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def nested(spans: Sequence[Received]) -> list[tuple[Received, int]]:
    """Return the spans with their depth, each one behind its parent, and otherwise as they began."""
    ids = {span.span_id for span in spans}

    def below(parent: str, depth: int) -> list[tuple[Received, int]]:
        children = [span for span in spans if (span.parent_id if span.parent_id in ids else "") == parent]
        ordered = sorted(children, key=lambda span: (span.began_ns, -span.ended_ns))
        return [found for span in ordered for found in ((span, depth), *below(span.span_id, depth + 1))]

    return below("", 0)


if __name__ == "__main__":
    draw(record(), FILE)
    print(f"wrote {FILE.relative_to(ROOT)}")
