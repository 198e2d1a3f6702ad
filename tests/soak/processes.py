"""Processes that die, hang or are killed under load."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

from tests.server import Server, wait_until
from tests.soak import memory_limit
from tests.soak.clients import Address, Ask
from tests.soak.images import SMALL, resized
from tests.soak.load import Load, answered, lost
from tests.soak.scenario import ALL_ANSWERED, NOTHING_LOST, Limit, Report, Scenario

NANO = ("--model", "twins_svt_nano")
KEPT = ("REST, kept connections", "gRPC", "gRPC streams", "V2")
FRESH = ("REST, fresh connections",)
HANG_TIMEOUT_S = 3
ROUNDS = 6  # of a long form, since the pause before a start doubles with each death within a minute: then it is 8 s
ENOUGH = 50  # answers, after which no sample is left that was on the device when the worker died


def address(service: Server) -> Address:
    """Return where a service listens."""
    return Address(service.http, service.grpc)


def repeated(service: Server, rounds: int, fault: Callable[[], None], **load: object) -> Report:
    """Cause a fault of the worker under load, again when the service has recovered. Return the slowest recovery."""
    recoveries, ready = [], len(service.events("worker ready"))
    with Load(address(service), **load) as clients:
        for number in range(1, rounds + 1):
            clients.wait_for_answers(ENOUGH)
            began = time.monotonic()
            fault()
            service.wait_for("worker ready", count=ready + number)
            clients.wait_for_answers(ENOUGH)
            recoveries.append(clients.recovery_s(began))
    restarts = service.metric("twins_process_restarts_total", process="worker-0")
    return clients.report(recovery_s=max(recoveries), restarts=restarts)


def kill_worker(service: Server, rounds: int) -> Report:
    return repeated(service, rounds, lambda: os.kill(service.pid("worker-0"), signal.SIGKILL))


def stop_worker(service: Server, rounds: int) -> Report:
    return repeated(service, rounds, lambda: os.kill(service.pid("worker-0"), signal.SIGSTOP))


def starve_worker(service: Server, rounds: int) -> Report:
    """Let the kernel kill the worker, which needs more memory than its group may have."""
    large = Ask(resized(2048), "segment")
    with memory_limit.group() as group:
        return repeated(service, rounds, lambda: group.add(service.pid("worker-0")), each=1, asks=(large, Ask(SMALL)))


def kill_frontend(service: Server, rounds: int) -> Report:
    """Kill one of two frontends. Only requests on the connections that it had may be lost.

    A fresh connection may wait in the frontend's queue, where it cannot be counted, so it may be lost as well.
    """
    connections, late, recoveries, restarts = 0, 0, [], []
    with Load(address(service), kinds=KEPT, each=4) as load, Load(address(service), kinds=FRESH, each=4) as fresh:
        for number in range(1, rounds + 1):
            load.wait_for_answers(ENOUGH)
            frontend = psutil.Process(service.pid("frontend-0"))
            connections += sum(each.status == psutil.CONN_ESTABLISHED for each in frontend.net_connections("tcp"))
            began = time.monotonic()
            frontend.kill()
            service.wait_for("restarting", count=number, role="frontend-0")
            ended = time.monotonic()
            service.wait_for("started", count=number + 1, role="frontend-0")
            wait_until(lambda: listens(service.pid("frontend-0"), service), what="a listening frontend")
            restarts.append(time.monotonic() - began)
            load.wait_for_answers(ENOUGH)
            recoveries.append(load.recovery_s(began))
            late += len(lost([*load.outcomes, *fresh.outcomes], after=ended))
    beyond = max(0, len(lost(load.outcomes)) - connections)
    load.outcomes += fresh.outcomes
    figures = {"lost_by_others": beyond, "lost_later": late}
    return load.report(recovery_s=max(recoveries), restart_s=max(restarts), **figures)


def listens(pid: int, service: Server) -> bool:
    """Return whether a process accepts connections on the HTTP port."""
    port = int(service.http.rpartition(":")[2])
    with suppress(psutil.NoSuchProcess):
        return any(
            each.status == psutil.CONN_LISTEN and each.laddr.port == port
            for each in psutil.Process(pid).net_connections("tcp")
        )
    return False


def kill_supervisor(service: Server, _: int) -> Report:
    """Kill the supervisor. Its children must leave, and free the ports for the next start."""
    addresses, children = address(service), psutil.Process(service.process.pid).children(recursive=True)
    with Load(addresses) as load:
        load.wait_for_answers(ENOUGH)
        began = time.monotonic()
        service.process.kill()
        service.process.wait()
        _, alive = psutil.wait_procs(children, timeout=30)
        ended = time.monotonic()
        ports = [each.rpartition(":")[2] for each in (addresses.http, addresses.grpc)]
        with Server(*NANO, "--http-port", ports[0], "--grpc-port", ports[1]):
            load.wait_for_answers(ENOUGH)
            recovery_s = load.recovery_s(began)
            load.stop()
    return load.report(recovery_s=recovery_s, children_left=len(alive), children_ended_s=ended - began)


def storm(service: Server, rounds: int) -> Report:
    """Kill every worker as soon as it is ready, or fifty answers after that, so that pauses grow."""
    ready = len(service.events("worker ready"))
    with Load(address(service), pause_s=0.02) as load:
        load.wait_for_answers(ENOUGH)
        for number in range(1, rounds + 1):
            os.kill(service.pid("worker-0"), signal.SIGKILL)
            service.wait_for("worker ready", count=ready + number)
        began = time.monotonic()
        load.wait_for_answers(ENOUGH)
    return load.report(recovery_s=load.recovery_s(began), answered_after=len(answered(load.outcomes, after=began)))


SCENARIOS = (
    Scenario(
        "worker-killed",
        "The worker is killed under load.",
        "Every request is answered by its deadline.",
        kill_worker,
        short=2,
        long=ROUNDS,
        long_s=45,
        limits=(*ALL_ANSWERED, Limit("recovery_s", most=15, in_tests=30)),
        flags=NANO,
    ),
    Scenario(
        "worker-stopped",
        "The worker stops running (SIGSTOP) and does not end.",
        "It is killed after `--hang-timeout-s`, here 3 s, and every request is answered.",
        stop_worker,
        short=1,
        long=ROUNDS,
        long_s=60,
        limits=(*ALL_ANSWERED, Limit("recovery_s", most=HANG_TIMEOUT_S + 15, in_tests=30)),
        flags=(*NANO, "--hang-timeout-s", str(HANG_TIMEOUT_S)),
    ),
    Scenario(
        "worker-out-of-memory",
        "The kernel kills the worker, which exceeds the memory of its group.",
        "Every request is answered by its deadline.",
        starve_worker,
        short=1,
        long=ROUNDS,
        long_s=60,
        flags=(*NANO, "--model", "twins_svt_nano_fpn"),
        missing=memory_limit.missing,
    ),
    Scenario(
        "frontend-killed",
        "One of two frontends is killed.",
        "Only requests on its own connections are lost. Other and new connections go on.",
        kill_frontend,
        short=1,
        long=ROUNDS,
        long_s=45,
        limits=(
            *(Limit(name, most=0) for name in ("lost_by_others", "lost_later", "refused")),
            Limit("restart_s", most=15, in_tests=30),
        ),
        flags=(*NANO, "--frontends", "2"),
    ),
    Scenario(
        "supervisor-killed",
        "The supervisor is killed.",
        "All other processes end within 5 s and leave no port in use. The next start serves on the same ports.",
        kill_supervisor,
        short=1,
        long=1,
        long_s=30,
        limits=(Limit("children_left", most=0), Limit("children_ended_s", most=5, in_tests=30)),
        flags=NANO,
    ),
    Scenario(
        "restart-storm",
        "Every worker is killed as soon as it is ready.",
        "Every request is answered or gets `unavailable` with Retry-After, and the service recovers.",
        storm,
        short=3,
        long=9,
        long_s=150,
        limits=(*NOTHING_LOST, Limit("answered_after", least=ENOUGH)),
        flags=NANO,
    ),
)
