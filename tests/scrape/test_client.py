"""What the client connects to and what it takes, against real sockets."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest

from pilotfish_agent import http_client
from pilotfish_agent.http_client import MAX_BYTES, Answer, Failed, ask, forbidden, session, url

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(answer: bytes | Handler) -> AsyncIterator[tuple[str, list[bytes]]]:
    """A server on loopback that says ``answer``; (its address, the heads it was sent)."""
    heads: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}", heads
    finally:
        server.close()


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "Connection: close", "", ""]
    return "\r\n".join(lines).encode() + body


def fetch(answer: bytes | Handler, *, host: str | None = None, seconds: float = 5.0) -> tuple[Answer, list[bytes]]:
    """One request to a server that says ``answer``."""

    async def go() -> tuple[Answer, list[bytes]]:
        async with served(answer) as (address, heads), session() as client:
            where = address if host is None else f"{host}:{address.rpartition(':')[2]}"
            return await ask(client, f"http://{where}/metrics", seconds=seconds), heads

    return asyncio.run(go())


def refused(answer: bytes | Handler, *, host: str | None = None, seconds: float = 5.0) -> Failed:
    """Why there was no answer."""
    with pytest.raises(Failed) as found:
        fetch(answer, host=host, seconds=seconds)
    return found.value


def test_an_answer_and_what_we_say_of_us() -> None:
    """Status and body; the request names us, asks for no compression, and brings no cookie."""
    answer, heads = fetch(http(b"a 1\n", "503 Service Unavailable", "Set-Cookie: a=b"))
    assert answer == Answer(503, b"a 1\n")
    assert b"User-Agent: pilotfish/" in heads[0]
    assert b"Accept-Encoding: identity\r\n" in heads[0]


def test_a_name_is_looked_up_and_the_host_header_keeps_it() -> None:
    """localhost works as any name."""
    _, heads = fetch(http(b""), host="localhost")
    assert b"\r\nHost: localhost:" in heads[0]


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent", "304 Not Modified"])
def test_a_redirect_is_not_followed(status: str) -> None:
    """Wherever it leads."""
    assert refused(http(b"", status, "Location: http://169.254.169.254/")).reason == "redirect"


def test_more_than_a_mebibyte_is_refused_whatever_the_length_says() -> None:
    """By Content-Length, by chunks, without a length."""
    assert len(fetch(http(b"x" * MAX_BYTES))[0].body) == MAX_BYTES
    assert refused(http(b"x" * (MAX_BYTES + 1))).reason == "too_large"

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
        while not reader.at_eof():
            writer.write(b"x" * 65536)
            await writer.drain()

    assert refused(endless).reason == "too_large"


def test_a_bomb_is_not_unpacked() -> None:
    """A compressed answer is refused: it was not asked for."""
    assert refused(http(gzip.compress(bytes(2**26)), "200 OK", "Content-Encoding: gzip")).reason == "encoding"


def test_a_server_that_drips_or_hangs_is_left() -> None:
    """The time is for the whole answer, not between two bytes."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not reader.at_eof():
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    assert refused(drip, seconds=0.3).reason == "timeout"


@pytest.mark.parametrize("answer", [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"])
def test_nonsense_is_told(answer: bytes) -> None:
    """An answer that ends early or is none."""
    assert refused(answer).reason in {"connect", "protocol"}


def test_nobody_there() -> None:
    """A port on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    async def go() -> None:
        async with session() as client:
            await ask(client, f"http://127.0.0.1:{port}/")

    with pytest.raises(Failed) as found:
        asyncio.run(go())
    assert found.value.reason == "connect"


def test_no_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """http_proxy points to nobody, and the answer comes."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert fetch(http(b"a 1\n"), host="localhost")[0].status == 200


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "fe80::1%eth0",
        "::ffff:169.254.169.254",
        "64:ff9b::a9fe:a9fe",
        "2002:a9fe:a9fe::",
        "fd00:ec2::254",
        "100.100.100.200",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "ff02::1",
        "255.255.255.255",
    ],
)
def test_what_a_name_may_not_turn_out_to_be(address: str) -> None:
    """Metadata services in every dress, link-local, multicast, nothing."""
    assert forbidden(address) is not None


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "10.0.0.4", "192.168.1.1", "fd00::1", "1.1.1.1", "100.64.0.1"])
def test_what_a_name_may_be(address: str) -> None:
    """Loopback, the pod's network, the world."""
    assert forbidden(address) is None


def test_a_name_that_is_the_metadata_service_is_not_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checked after the lookup; a name with one good address uses that one only."""
    looked = asyncio.BaseEventLoop.getaddrinfo
    answers = {"bad.test": ["169.254.169.254"], "mixed.test": ["169.254.169.254", "127.0.0.1"]}

    async def getaddrinfo(loop: asyncio.BaseEventLoop, host: str, port: int, **more: int) -> object:
        found = [await looked(loop, a, port, **more) for a in answers.get(host, [host])]
        return [one for several in found for one in several]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", getaddrinfo)
    failed = refused(http(b""), host="bad.test")
    assert failed.reason == "address"
    assert "bad.test is 169.254.169.254, a cloud's metadata service" in str(failed)
    assert fetch(http(b"a 1\n"), host="mixed.test")[0].status == 200


@pytest.mark.parametrize("number", ["2852039166", "0xA9FEA9FE", "0251.0376.0251.0376"])
def test_an_address_written_as_a_number_is_looked_up_and_refused(number: str) -> None:
    """The old forms of inet_aton are names to us, or to aiohttp no host at all."""

    async def go() -> None:
        async with session() as client:
            await ask(client, f"http://{number}/", seconds=1)

    with pytest.raises(Failed) as found:
        asyncio.run(go())
    assert found.value.reason in {"address", "protocol"}


@pytest.mark.parametrize("good", ["http://127.0.0.1:8002/metrics", "https://[::1]/m?a=b", "http://vllm"])
def test_urls(good: str) -> None:
    """http and https with a host."""
    assert url(good) == good


@pytest.mark.parametrize(
    "bad", ["", "127.0.0.1:80", "ftp://a/", "http://", "http://a:99999/", "http://u:p@a/", "http://a b/", "file:///x"]
)
def test_bad_urls(bad: str) -> None:
    """Everything else, and passwords."""
    with pytest.raises(ValueError, match="an URL"):
        url(bad)


def test_the_session_is_what_the_docs_say() -> None:
    """No cookies are kept; nothing is unpacked."""

    async def go() -> None:
        async with session() as client:
            assert isinstance(client.cookie_jar, aiohttp.DummyCookieJar)
            assert not client.trust_env

    asyncio.run(go())
    assert http_client.SECONDS == 5.0
