"""The health check over a Unix socket, whose address any program of the machine may take."""

import os
import socket

from structlog.testing import capture_logs

from service.processes import readiness


def test_services_on_two_addresses_of_a_machine_have_their_own():
    assert readiness.address("127.0.0.1", 8000, 0) != readiness.address("127.0.0.2", 8000, 0)


async def test_an_address_that_is_taken_is_logged_and_does_not_stop_the_start():
    path = readiness.address("127.0.0.1", os.getpid(), 0)
    with socket.socket(socket.AF_UNIX) as other, capture_logs() as lines:
        other.bind(path)
        assert await readiness.serve(None, path) is None
    assert [(line["log_level"], line["address"]) for line in lines] == [("warning", path[1:])]
