"""Rolling restarts, as docs/operations.md describes them: a new instance is ready before the old one stops."""

import time
from contextlib import ExitStack

from tests.server import Server
from tests.soak.balancer import Balancer
from tests.soak.load import Load
from tests.soak.processes import ENOUGH, NANO, address
from tests.soak.scenario import ALL_ANSWERED, Limit, Report, Scenario

DRAIN = ("--drain-delay-s", "1")  # longer than the interval of the health checks
KINDS = ("REST, kept connections", "REST, fresh connections", "gRPC", "gRPC streams")
EACH = 8  # clients of a kind


def restart(service: Server, rounds: int) -> Report:
    """Replace the instance again and again under load."""
    balancer, with_losses, took = Balancer(), 0, []
    with balancer as front, ExitStack() as instances:
        balancer.use(address(service))
        with Load(front, kinds=KINDS, each=EACH, pause_s=0.01) as load:
            for _ in range(rounds):
                load.wait_for_answers(ENOUGH)
                successor = instances.enter_context(Server(*NANO, *DRAIN))
                balancer.use(address(successor))
                began = time.monotonic()
                with_losses += service.stop() != 0
                took.append(time.monotonic() - began)
                del balancer.instances[0]
                service = successor
            load.wait_for_answers(ENOUGH)
    return load.report(instances_with_losses=with_losses, longest_drain_s=max(took))


SCENARIOS = (
    Scenario(
        "rolling-restarts",
        "Instances behind a load balancer are replaced one after the other, under 32 clients.",
        "Every request is answered, and each instance ends with exit code 0.",
        restart,
        short=3,
        long=20,
        long_s=150,
        limits=(*ALL_ANSWERED, Limit("instances_with_losses", most=0)),
        flags=(*NANO, *DRAIN),
    ),
)
