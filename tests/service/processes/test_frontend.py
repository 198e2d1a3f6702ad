"""A frontend whose parts fail ends, and says why. The servers and sockets are real; the test is the supervisor."""

import asyncio
import os
import socket

import pytest

from service.ipc.messages import Fatal, Ready, address
from service.ipc.transport import ClientSocket, ServerSocket
from service.processes import child, frontend
from service.processes.child import CONTROL, ChildConfig
from service.rest import server as rest
from service.rpc import server as rpc
from service.settings import Settings

TIMEOUT_S = 30


class ProcessExited(Exception):
    """Stands for the end of the process."""


@pytest.fixture
def servers(monkeypatch):
    """Return the servers that the frontend makes, by kind, for a test to break."""
    made = {}

    def recorded(kind, name):
        class Recorded(kind):
            def __init__(self, *arguments):
                super().__init__(*arguments)
                made[name] = self

        return Recorded

    monkeypatch.setattr(rest, "Server", recorded(rest.Server, "HTTP"))
    monkeypatch.setattr(rpc, "Server", recorded(rpc.Server, "gRPC"))
    return made


@pytest.fixture
def free_ports():
    """Return two ports that are free at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return one.getsockname()[1], other.getsockname()[1]


@pytest.fixture
async def supervisor(tmp_path, monkeypatch):
    """Return the socket that a frontend reports to; it never ends the process of the test."""

    def exit_process(code, error=None):
        raise ProcessExited(code)

    monkeypatch.setattr(child, "exit_process", exit_process)
    listening = ServerSocket(address(tmp_path, CONTROL))
    yield listening
    listening.close()


def start(supervisor, ports) -> asyncio.Task:
    """Start a frontend on these ports in this process."""
    folder = supervisor.at.removeprefix("ipc://").rpartition("/")[0]
    settings = Settings(http_port=ports[0], grpc_port=ports[1], grace_s=0)
    config = ChildConfig("frontend-0.0", folder, os.getppid(), 0, {})
    return asyncio.create_task(frontend.main(config, settings, ClientSocket(supervisor.at, name=config.name)))


async def next_message(supervisor, kind):
    """Return the next message of that kind."""
    async with asyncio.timeout(TIMEOUT_S):
        while not isinstance(message := (await supervisor.receive())[1], kind):
            pass
    return message


async def break_http(server):
    server.should_exit = True


async def break_grpc(server):
    await server.server.stop(0)


@pytest.mark.parametrize(("name", "damage"), [("HTTP", break_http), ("gRPC", break_grpc)])
async def test_a_server_that_ends_while_it_should_serve_ends_the_frontend(
    supervisor, servers, free_ports, name, damage
):
    running = start(supervisor, free_ports)
    await next_message(supervisor, Ready)
    await damage(servers[name])
    with pytest.raises(RuntimeError, match=f"{name} server"):
        await asyncio.wait_for(running, TIMEOUT_S)


@pytest.mark.parametrize("place", [0, 1], ids=["http", "grpc"])
async def test_a_port_that_is_taken_is_reported_at_once_with_its_reason(supervisor, servers, free_ports, place):
    with socket.create_server(("127.0.0.1", 0)) as other_program:
        ports = list(free_ports)
        ports[place] = other_program.getsockname()[1]
        running = start(supervisor, ports)
        assert "cannot listen" in (await next_message(supervisor, Fatal)).detail
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_an_http_server_that_ends_as_it_starts_is_reported_at_once(supervisor, servers, free_ports, monkeypatch):
    async def fail(self, sockets=None):
        raise RuntimeError("no event loop for that")

    monkeypatch.setattr(frontend.rest.Server, "startup", fail)
    running = start(supervisor, free_ports)
    assert "no event loop for that" in (await next_message(supervisor, Fatal)).detail
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
