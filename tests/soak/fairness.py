"""One client, model or kind of image that takes more than its share, and what the others notice."""

from functools import partial

from tests.server import Server
from tests.soak.clients import Address
from tests.soak.flood import Flooding, Target, flooder
from tests.soak.images import SMALL, resized
from tests.soak.load import Load, answered, p99_s
from tests.soak.processes import NANO
from tests.soak.scenario import ALL_ANSWERED, Limit, Report, Scenario

FLOODERS = 32  # clients of a flood, each of which sends its next request when the last one is answered
EXTRA_S = 2  # by which a flood is longer than what is measured beside it
KEYS = ("--api-key", "polite:polite", "--api-key", "flood:flood")
LARGE = resized(2600)  # 6.8 megapixels


def beside(path: str, image: bytes, service: Server, seconds: int) -> Report:
    """Measure some polite clients without a flood, and beside one."""
    target = Target(f"{service.http}{path}", image, key="flood")
    with flooder() as floods:
        alone = polite(service, seconds)
        flood = floods.start(Flooding(target, FLOODERS, seconds + EXTRA_S))
        with_flood = polite(service, seconds)
        seen = flood.result()
    p99_alone, p99_beside = (p99_s(answered(load.outcomes)) for load in (alone, with_flood))
    return with_flood.report(
        p99_alone_ms=1000 * p99_alone,
        p99_beside_ms=1000 * p99_beside,
        p99_ratio=p99_beside / p99_alone,
        flood_answered=seen.count(200),
        flood_refused=len(seen.answers) - seen.count(200),
    )


def polite(service: Server, seconds: int) -> Load:
    """Return what two clients see that send a small image now and then."""
    where = Address(service.http, service.grpc, key="polite")
    with Load(where, kinds=("REST, kept connections", "REST, fresh connections"), each=1, pause_s=0.05) as load:
        load.go_on(seconds)
    return load


FEW = (*ALL_ANSWERED, Limit("p99_ratio", most=2, in_tests=200))

SCENARIOS = (
    Scenario(
        "flood-of-a-client",
        f"One client floods the service over {FLOODERS} connections, and has a quota (`--client-in-flight`).",
        "The p99 of the others is at most twice that without the flood.",
        partial(beside, "/classify", SMALL),
        short=3,
        long=30,
        long_s=75,
        limits=FEW,
        flags=(*NANO, *KEYS, "--client-in-flight", "2"),
    ),
    Scenario(
        "flood-of-masks",
        f"{FLOODERS} connections ask for masks, and others for classes.",
        "The p99 of the others is at most twice that without the flood.",
        partial(beside, "/segment", SMALL),
        short=3,
        long=30,
        long_s=75,
        limits=FEW,
        flags=(*NANO, *KEYS, "--model", "twins_svt_nano_fpn"),
    ),
    Scenario(
        "flood-of-large-images",
        f"{FLOODERS} connections send images of 6.8 megapixels, and others small ones.",
        "The p99 of the others is at most twice that without the flood.",
        partial(beside, "/classify", LARGE),
        short=3,
        long=30,
        long_s=75,
        limits=FEW,
        flags=(*NANO, *KEYS),
    ),
)
