"""Both ports over TLS, with certificates of clients, and how certificates are replaced while the service runs."""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.certificates import Authority, Issued
from tests.end_to_end.conftest import CAT
from tests.end_to_end.test_load import TWINS
from tests.server import Server, wait_until
from tools.documents import ROOT

BOTH = pytest.mark.parametrize("port", ["http", "grpc"])
GARBAGE = {
    "nothing": b"",
    "plain HTTP": b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "random bytes": b"\x93" * 512,
}


class Secure(NamedTuple):
    """A service with mutual TLS, and what its clients need."""

    server: Server
    authority: Authority  # of the service
    clients: Authority
    client: Issued
    silent: dict[str, socket.socket]  # connections over which nothing has been sent since the start

    @property
    def context(self) -> ssl.SSLContext:
        """Return the context of a client that is accepted."""
        return self.authority.trusting(self.client)

    def credentials(self, client: Issued | None) -> grpc.ChannelCredentials:
        """Return the same for gRPC, with a certificate of a client, if any."""
        pem = [file.read_bytes() for file in reversed(client or ())]
        return grpc.ssl_channel_credentials(self.authority.file.read_bytes(), *pem)

    def address(self, port: str) -> tuple[str, int]:
        """Return the address of the port for HTTP or gRPC."""
        host, _, number = (self.server.http if port == "http" else self.server.grpc).rpartition(":")
        return host.removeprefix("https://"), int(number)

    def shown(self, port: str) -> bytes:
        """Return the certificate that the service shows a new client."""
        with connect(self.address(port), self.context) as connection:
            return connection.getpeercert(binary_form=True)

    def replace(self) -> dict[str, bytes]:
        """Issue a new certificate of the service, wait until both ports show it, and return both."""
        before = {port: self.shown(port) for port in ("http", "grpc")}
        self.authority.issue("service")
        for port, old in before.items():
            wait_until(lambda port=port, old=old: self.shown(port) != old, what=f"a new certificate over {port}")
        return {port: self.shown(port) for port in before}


def connect(address: tuple[str, int], context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    """Return a connection after its handshake, which may resume a session."""
    opened = socket.create_connection(address, timeout=20)
    return context.wrap_socket(opened, server_hostname="localhost", session=session)


@pytest.fixture(scope="module")
def secure(tmp_path_factory):
    authority, clients = (Authority(tmp_path_factory.mktemp(name), name) for name in ("service", "clients"))
    pair, client = authority.issue("service"), clients.issue("client")
    flags = ("--tls-certificate", pair.certificate, "--tls-key", pair.key, "--tls-client-ca", clients.file)
    with Server(*map(str, flags), "--model", "twins_svt_nano") as server:
        found = Secure(server, authority, clients, client, {})
        found.silent.update({port: socket.create_connection(found.address(port)) for port in ("http", "grpc")})
        yield found


def call(secure: Secure, credentials: grpc.ChannelCredentials) -> int:
    """Return the health over a new gRPC connection."""
    with grpc.secure_channel(secure.server.grpc, credentials) as channel:
        answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=20)
    return answer.status


def get(secure: Secure, path: str, context: ssl.SSLContext) -> httpx.Response:
    """Return an answer over a new HTTP connection."""
    return httpx.get(secure.server.http + path, verify=context)


def test_http_is_answered_over_tls_and_asks_browsers_to_stay_there(secure):
    answer = get(secure, "/readyz", secure.context)
    assert answer.status_code == 200
    assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"


def test_a_refusal_by_the_parser_has_the_same_header(secure):
    with connect(secure.address("http"), secure.context) as connection:
        connection.sendall(b"nonsense\r\n\r\n")
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 400")
    assert b"strict-transport-security: max-age=31536000" in answer.lower()


def test_curl_accepts_the_certificate(secure):
    files = ("--cacert", secure.authority.file, "--cert", secure.client.certificate, "--key", secure.client.key)
    ran = subprocess.run(
        ["curl", "--silent", *map(str, files), f"{secure.server.http}/livez"], check=False, capture_output=True
    )
    assert ran.returncode == 0, ran.stderr


def test_grpc_is_answered_over_tls(secure):
    assert call(secure, secure.credentials(secure.client)) == health_pb2.HealthCheckResponse.SERVING


@BOTH
@pytest.mark.parametrize("issuer", ["authority", "clients", None])
def test_a_client_is_accepted_if_and_only_if_the_authority_of_clients_issued_its_certificate(secure, port, issuer):
    client = getattr(secure, issuer).issue(f"client-{port}") if issuer else None
    assert accepted(secure, port, client) == (issuer == "clients")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
@BOTH
def test_tls_1_1_is_refused(secure, port):
    context = secure.context
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match=r"PROTOCOL_VERSION|EOF"):
        connect(secure.address(port), context)


@BOTH
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_newer_versions_are_accepted(secure, port, version):
    context = secure.context
    context.minimum_version = context.maximum_version = version
    with connect(secure.address(port), context) as connection:
        assert connection.version() == version.name.replace("v1_", "v1.")


@BOTH
@pytest.mark.parametrize("sent", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_handshake_ends_the_connection_and_leaves_nothing_in_the_log(secure, port, sent):
    before = secure.server.log()
    with socket.create_connection(secure.address(port), timeout=20) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: read(connection), b""))
    assert not answer.startswith(b"HTTP/1")
    assert secure.shown(port)
    assert secure.server.log() == before


def read(connection: socket.socket) -> bytes:
    """Return what arrives, or nothing at the end of the connection."""
    try:
        return connection.recv(4096)
    except ConnectionResetError:
        return b""


def test_a_new_certificate_is_shown_on_both_ports_and_open_connections_stay(secure):
    channel = grpc.secure_channel(secure.server.grpc, secure.credentials(secure.client))
    health = health_pb2_grpc.HealthStub(channel)
    with httpx.Client(verify=secure.context) as client, channel:
        client.get(f"{secure.server.http}/livez")
        health.Check(health_pb2.HealthCheckRequest(), timeout=20)
        kept = client._transport._pool.connections
        new = secure.replace()
        assert new["http"] == new["grpc"]
        client.get(f"{secure.server.http}/livez")
        health.Check(health_pb2.HealthCheckRequest(), timeout=20)
        assert client._transport._pool.connections == kept


def test_no_new_connection_is_lost_while_certificates_are_replaced(secure):
    done = threading.Event()

    def count() -> int:
        connections = 0
        while not done.is_set():
            connections += all(secure.shown(port) for port in ("http", "grpc"))
        return connections

    with ThreadPoolExecutor(2) as threads:
        counting = [threads.submit(count) for _ in range(2)]
        secure.replace()
        done.set()
        assert all(each.result() > 1 for each in counting)


def test_a_broken_pair_keeps_the_old_one_and_is_logged(secure):
    shown = {port: secure.shown(port) for port in ("http", "grpc")}
    key = secure.authority.folder / "service.key"
    content = key.read_bytes()
    key.write_bytes(b"broken")
    try:
        secure.server.wait_for("the new certificate is not used")
        assert {port: secure.shown(port) for port in shown} == shown
    finally:
        key.write_bytes(content)


@BOTH
def test_another_authority_of_clients_is_used_for_new_connections(secure, port):
    old = secure.clients.file.read_bytes()
    other = Authority(secure.clients.folder, f"other-{port}")
    client = other.issue(f"other-{port}")
    context = secure.context
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # in which a session is known after the handshake
    with connect(secure.address(port), context) as first:
        session = first.session
    with connect(secure.address(port), context, session) as second:
        assert second.session_reused
    secure.clients.file.write_bytes(other.file.read_bytes())
    try:
        wait_until(lambda: accepted(secure, port, client), what="the certificate of the new authority")
        assert not accepted(secure, port, secure.client)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            connect(secure.address(port), context, session)
    finally:
        secure.clients.file.write_bytes(old)
        wait_until(lambda: accepted(secure, port, secure.client))


def accepted(secure: Secure, port: str, client: Issued | None) -> bool:
    """Return whether a client with a certificate, if any, is answered over a new connection."""
    try:
        if port == "http":
            get(secure, "/livez", secure.authority.trusting(client))
        else:
            call(secure, secure.credentials(client))
    except (httpx.TransportError, grpc.RpcError):
        return False
    return True


def test_our_clients_speak_tls_and_trust_no_unknown_authority(secure):
    """They run in a process of their own, since the messages of gRPC have the names of the server's."""
    files = (CAT, secure.authority.file, *secure.client, secure.clients.file)
    command = [sys.executable, ROOT / "tests" / "clients" / "secure.py", secure.server.http, secure.server.grpc, *files]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "client")}
    ran = subprocess.run([*map(str, command)], env=environ, check=False, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == ["cat", "refused"] * 2


@pytest.mark.parametrize("scheme", ["https", "grpcs"])
def test_the_load_generator_speaks_tls(secure, scheme):
    files = ("--ca", secure.authority.file, "--certificate", secure.client.certificate, "--key", secure.client.key)
    url = f"{scheme}://{secure.server.http.removeprefix('https://') if scheme == 'https' else secure.server.grpc}"
    ended = subprocess.run(
        [TWINS, "load", url, "--seconds", "0.3", "--warm-up-s", "0", *map(str, files)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr


def test_the_health_check_needs_no_certificate(secure):
    host, port = secure.address("http")
    environ = {
        **os.environ,
        "TWINS_HOST": host,
        "TWINS_HTTP_PORT": str(port),
        "TWINS_TLS_CLIENT_CA": str(secure.clients.file),
    }
    command = [sys.executable, "-I", "-S", str(ROOT / "docker" / "ready.py")]
    assert subprocess.run(command, env=environ, check=False).returncode == 0


def test_a_service_does_not_start_with_a_broken_certificate(tmp_path):
    broken = tmp_path / "broken.pem"
    broken.write_text("broken")
    with Server("--tls-certificate", str(broken), "--tls-key", str(broken), wait=False) as server:
        assert server.process.wait(60) == 2
        assert f"--tls-certificate: {broken} has no readable certificates in PEM" in server.log()


@BOTH
def test_a_connection_over_which_nothing_is_sent_is_closed(secure, port):
    """It was opened when the service started."""
    silent = secure.silent[port]
    silent.settimeout(30)
    assert read(silent) == b""


def test_a_stop_ends_connections_that_clients_keep_open_without_a_request(secure):
    with connect(secure.address("http"), secure.context) as idle, socket.create_connection(secure.address("http")):
        idle.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert idle.recv(4096).startswith(b"HTTP/1.1 200")
        assert secure.server.stop() == 0


def test_the_log_has_no_errors_but_those_of_files(secure):
    lines = [json.loads(line) for line in secure.server.log().splitlines()]
    errors = {line["event"] for line in lines if line["level"] not in ("info", "debug")}
    assert errors <= {"the new certificate is not used"}
