"""TLS: ended at the relay when it has a certificate, else passed and only timed."""

from __future__ import annotations

import os
import pathlib
import socket
import ssl
import subprocess

import pytest

from pilotfish import exchange
from pilotfish_agent.capture.control import CaptureUnavailableError
from pilotfish_agent.capture.tls import Certificate
from tests.capture_relay.box import RelayBox, closes_with, exactly, server, until
from tests.system import needs

pytestmark = needs("openssl", package="openssl")

ASK = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}"
HTTP = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def certificate(folder: pathlib.Path, name: str = "one") -> tuple[str, str]:
    """Files of a self-made certificate for localhost and of its key."""
    cert, key = str(folder / f"{name}.crt"), str(folder / f"{name}.key")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    return cert, key


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A certificate and its key."""
    return certificate(tmp_path_factory.mktemp("tls"))


def answer(connection: socket.socket) -> None:
    """A plaintext model."""
    while len(data := exactly(connection, len(ASK))) == len(ASK):
        assert data == ASK
        connection.sendall(HTTP)


def secure(box: RelayBox, trusted: str, **more: object) -> ssl.SSLSocket:
    """A connection that trusts the certificate alone."""
    context = ssl.create_default_context(cafile=trusted)
    context.set_alpn_protocols(["h2", "http/1.1"])
    plain = socket.create_connection(("127.0.0.1", box.port))
    plain.settimeout(20)
    return context.wrap_socket(plain, server_hostname="localhost")


def test_with_a_certificate_tls_ends_here(files: tuple[str, str]) -> None:
    """The model sees plaintext, the exchange is captured whole."""
    cert, key = files
    with server(answer) as port, RelayBox(port, relay={"cert": cert, "key": key}, bodies="all") as box:
        with secure(box, cert) as client:
            assert client.selected_alpn_protocol() == "http/1.1"
            for _ in range(3):
                client.sendall(ASK)
                assert exactly(client, len(HTTP)) == HTTP
        until(lambda: len(box.records) == 3, "the exchanges")
        assert set(box.lines()) == {"POST /v1/models/m:predict 200"}
        until(lambda: len(box.copies) == 3, "the copies")
        assert (box.copies[0].request_body, box.copies[0].response_body) == (b"{}", b"ok")


def test_large_bodies_pass_tls(files: tuple[str, str]) -> None:
    """Back pressure through TLS: what comes out is what went in, and the end is a proper one."""
    block = os.urandom(4 << 20)

    def send(connection: socket.socket) -> None:
        connection.recv(1)
        connection.sendall(block)

    with (
        server(send) as port,
        RelayBox(port, relay={"cert": files[0], "key": files[1]}) as box,
        secure(box, files[0]) as client,
    ):
        client.sendall(b"x")
        assert exactly(client, len(block)) == block
        assert client.recv(1) == b""


def test_plaintext_to_a_tls_port_is_refused(files: tuple[str, str]) -> None:
    """As a TLS server would: the connection ends, the model sees nothing; the relay goes on."""
    with server(answer) as port, RelayBox(port, relay={"cert": files[0], "key": files[1]}) as box:
        with socket.create_connection(("127.0.0.1", box.port)) as client:
            client.settimeout(20)
            client.sendall(ASK)
            assert closes_with(client) in {"end", "reset"}
        with secure(box, files[0]) as client:
            client.sendall(ASK)
            assert exactly(client, len(HTTP)) == HTTP


def test_without_a_certificate_tls_passes_and_is_timed(files: tuple[str, str]) -> None:
    """End to end between client and model; the record says opaque and invents no request."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)

    def model(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as inner:
            answer(inner)

    with server(model) as port, RelayBox(port) as box:
        with secure(box, files[0]) as client:
            client.sendall(ASK)
            assert exactly(client, len(HTTP)) == HTTP
        until(lambda: box.records, "the record")
        assert all(record.flags & exchange.OPAQUE and not record.status for _, record in box.records)


def test_a_bad_certificate_is_told(tmp_path: pathlib.Path, files: tuple[str, str]) -> None:
    """The report names the files; nothing listens in plaintext instead."""
    other = certificate(tmp_path, "other")
    with server(answer) as port, RelayBox(port, relay={"cert": files[0], "key": other[1]}) as box:
        assert box.process.wait(10) == 3
        until(lambda: box.report is not None, "the report")
        assert box.report is not None
        assert box.report.reason == "failed"
        assert files[0] in (box.report.problem or "")


def test_an_encrypted_key_does_not_ask(tmp_path: pathlib.Path, files: tuple[str, str]) -> None:
    """It is refused with words, never asked for on a terminal."""
    locked = tmp_path / "locked.key"
    command = ["openssl", "pkcs8", "-topk8", "-in", files[1], "-out", str(locked), "-passout", "pass:secret"]
    subprocess.run(command, check=True, capture_output=True)
    with pytest.raises(CaptureUnavailableError, match="encrypted"):
        Certificate(files[0], str(locked))


def test_a_renewed_certificate_is_taken_and_a_broken_one_is_not(tmp_path: pathlib.Path) -> None:
    """A half-written pair leaves the old one in force."""
    cert, key = certificate(tmp_path)
    held = Certificate(cert, key)
    assert held.renew() is None
    new_cert, new_key = certificate(tmp_path, "two")
    os.replace(new_cert, cert)
    assert "key values mismatch" in (held.renew() or "")
    os.replace(new_key, key)
    assert held.renew() is None
    assert shown(held) == "two"


def shown(held: Certificate) -> str:
    """The common name that a client is shown, by a handshake in memory."""
    ends = [ssl.MemoryBIO() for _ in range(2)]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = context.wrap_bio(ends[0], ends[1])
    there = held.context.wrap_bio(ends[1], ends[0], server_side=True)
    for _ in range(4):
        for one in (client, there):
            try:
                one.do_handshake()
            except ssl.SSLWantReadError:
                pass
    found = client.getpeercert(binary_form=True)
    assert found is not None
    text = ssl.DER_cert_to_PEM_cert(found)
    told = subprocess.run(["openssl", "x509", "-noout", "-subject"], input=text, capture_output=True, text=True).stdout
    return told.strip().rpartition(" ")[2]
