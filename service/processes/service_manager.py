"""Reports to the service manager that started the service, such as systemd, by the datagrams of its protocol.

The protocol is that of sd_notify(3): lines of NAME=VALUE in one datagram. Without a service manager, nothing is sent.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Iterable

from service import environment, logs
from service.processes.slot import ProcessSlot

IDLE_S = 5.0  # between two reports if the service manager wants no signs of life
REPORTS = 3  # in the time within which the service manager wants a sign of life
SEND_S = 0.5  # for which the supervisor waits while the service manager's socket is full
START_S = 60.0  # for which the start may go on after each report

log = logs.get()


class ServiceManager:
    """The service manager, at the address of its socket; None: there is none."""

    def __init__(self, address: str | None, watchdog_s: float | None) -> None:
        self.address, self.watchdog_s = address, watchdog_s
        self.started = self.stopping = False
        self.status = ""
        self.is_unreachable = False

    @classmethod
    def of_environment(cls) -> "ServiceManager":
        """Return the service manager that the variables of this process name."""
        return cls(environment.notify_socket(), environment.watchdog_s())

    @property
    def interval_s(self) -> float:
        """Return the time between two reports."""
        return self.watchdog_s / REPORTS if self.watchdog_s else IDLE_S

    def notify(self, **values: object) -> bool:
        """Send values, and return whether the service manager has them. Frontends and workers do not wait for this."""
        if self.address is None:
            return False
        message = "\n".join(f"{name}={value}" for name, value in values.items())
        address = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(SEND_S)
                sender.connect(address)
                sender.sendall(message.encode())
        except (OSError, ValueError) as error:
            if not self.is_unreachable:
                log.warning("the service manager cannot be notified", address=self.address, detail=str(error))
            self.is_unreachable = True
            return False
        self.is_unreachable = False
        return True

    def show(self, status: str) -> None:
        """Set the line that `systemctl status` shows, if it changed."""
        if status != self.status and self.notify(STATUS=status):
            self.status = status

    def ready(self, slots: Iterable[ProcessSlot]) -> None:
        """Report that the start has ended, and with which processes."""
        self.started = True
        self.status = describe(slots)
        self.notify(READY=1, STATUS=self.status)

    def stop(self, longest_s: float) -> None:
        """Report that the service stops, which may take that long whatever the service manager's own limit is."""
        self.stopping = True
        self.status = "Stopping: requests in flight are answered"
        self.notify(STOPPING=1, STATUS=self.status, EXTEND_TIMEOUT_USEC=round(longest_s * 1e6))

    async def report(self, slots: Callable[[], Iterable[ProcessSlot]], unready_limit_s: float) -> None:
        """Report the state of the processes until cancelled, with signs of life while they serve.

        The signs end when no worker or no frontend has been ready for that limit: processes that die are started again
        here, which takes a while, and the service manager should restart the service only if that does not help.
        """
        last_ready = time.monotonic()
        while self.address is not None:
            found, now = list(slots()), time.monotonic()
            if serves(found):
                last_ready = now
            if not self.stopping:
                self.show(describe(found))
            if not self.started and not self.stopping:
                self.notify(EXTEND_TIMEOUT_USEC=round(START_S * 1e6))
            elif self.stopping or now - last_ready <= unready_limit_s:
                self.notify(WATCHDOG=1)
            await asyncio.sleep(self.interval_s)


def serves(slots: Iterable[ProcessSlot]) -> bool:
    """Return whether a frontend and a worker are ready."""
    return {slot.is_worker for slot in slots if slot.ready and not slot.problem} == {True, False}


def describe(slots: Iterable[ProcessSlot]) -> str:
    """Return the state of the processes in words."""
    found = list(slots)
    workers = [slot for slot in found if slot.is_worker]
    count = sum(slot.ready and not slot.problem for slot in workers)
    return f"{'Serving' if serves(found) else 'Not serving'}: {count} of {len(workers)} workers ready"
