"""Ports: reserved against other programs and other services, and shared among frontends."""

import socket

import pytest

from service.processes.listening import listen, reserve
from service.settings import Settings, SettingsError


@pytest.fixture
def reserved():
    with reserve(Settings(http_port=0), "http_port") as kept:
        yield kept.getsockname()[1]


def test_a_reserved_port_cannot_be_reserved_again(reserved):
    with pytest.raises(SettingsError, match=str(reserved)):
        reserve(Settings(http_port=reserved), "http_port")


def test_a_port_on_which_another_program_listens_is_rejected():
    with (
        socket.create_server(("127.0.0.1", 0)) as other_program,
        pytest.raises(SettingsError, match="with --grpc-port"),
    ):
        reserve(Settings(grpc_port=other_program.getsockname()[1]), "grpc_port")


def test_a_port_on_which_frontends_listen_cannot_be_reserved(reserved):
    with listen("127.0.0.1", reserved), pytest.raises(SettingsError):
        reserve(Settings(http_port=reserved), "http_port")


def test_several_frontends_listen_on_one_reserved_port(reserved):
    with listen("127.0.0.1", reserved) as first, listen("127.0.0.1", reserved) as second:
        assert first.getsockname() == second.getsockname()


def test_a_reserved_port_accepts_no_connection_before_a_frontend_listens(reserved):
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", reserved))


def test_an_address_of_another_machine_is_rejected():
    with pytest.raises(SettingsError, match="an address of this machine with --host"):
        reserve(Settings(host="192.0.2.1", http_port=0), "http_port")


def test_a_host_that_does_not_exist_is_rejected():
    with pytest.raises(SettingsError, match="an address of this machine with --host"):
        reserve(Settings(host="nowhere.invalid", http_port=0), "http_port")
