"""One request to an address of the configuration, and to no other: for scrapes and probes.

A host name is looked up once a connection and the address is checked before it is connected to, so that a name which
turns to the cloud's metadata service between check and use (DNS rebinding) gets nothing. No redirect is followed, no
proxy of the environment is used, no compressed answer is taken (a bomb), and an answer ends at 1 MiB and 5 seconds.
"""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import re
import secrets
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Literal
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

MAX_BYTES = 2**20
SECONDS = 5.0
AGENT = "pilotfish"
"""The product in `User-Agent`."""

Why = Literal["address", "connect", "timeout", "too_large", "redirect", "status", "encoding", "protocol"]
METADATA = frozenset(
    map(
        ipaddress.ip_address,
        ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "192.0.0.192"),  # AWS and others, AWS, Alibaba, Oracle
    )
)
_TLS = re.compile(r" ssl:\S+")  # "ssl:default" in aiohttp's errors, of http as well
_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class Failed(Exception):  # noqa: N818 - an answer to be counted, not an error of ours
    """There is no usable answer.

    Attributes:
        reason: a word for the metric; the exception's text says more for the log.
    """

    def __init__(self, reason: Why, words: str) -> None:
        super().__init__(words)
        self.reason: Why = reason


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


def url(value: Any) -> str:
    """A parser for the configuration: an http or https URL with a host, without a password in it."""
    try:
        parts = urlsplit(str(value))
        good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good or len(str(value)) > 2000 or any(ord(c) <= 32 for c in str(value)):
        raise ValueError("an URL such as http://127.0.0.1:8002/metrics")
    if parts.username is not None or parts.password is not None:
        raise ValueError("an URL without a name or password in it: it would stand in logs")
    return str(value)


def forbidden(address: str) -> str | None:
    """Why a looked-up address is not connected to; None when it may be.

    A name that turns out to be link-local, a metadata service, multicast or nothing is refused; who means such an
    address writes it into the configuration as it is.
    """
    ip: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = inner or ip
    if ip in METADATA:
        return "a cloud's metadata service"
    if ip.is_link_local:
        return "a link-local address"
    return "no host's address" if ip.is_multicast or ip.is_unspecified or str(ip) == "255.255.255.255" else None


class _Checked(AbstractResolver):
    """Looks a name up and hands on what may be connected to; aiohttp connects to just these addresses."""

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
        good: list[ResolveResult] = []
        why = ""
        for kind, _, proto, _, address in found:
            refused = forbidden(str(address[0]))
            if refused is not None:
                why = f"{host} is {address[0]}, {refused}; write the address itself if you mean it"
                continue
            good.append(
                ResolveResult(
                    hostname=host,
                    host=str(address[0]),
                    port=port,
                    family=kind,
                    proto=proto,
                    flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                )
            )
        if not good:
            raise Failed("address", why or f"{host} has no address")
        return good

    async def close(self) -> None:
        """Holds nothing."""


@functools.cache
def own_word() -> str:
    """A word in the `User-Agent` of this process: the capture leaves its requests out of the model's traffic."""
    return secrets.token_hex(8)


def session() -> aiohttp.ClientSession:
    """A client for these requests; to be closed by who opened it. Made within the loop."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(resolver=_Checked(), use_dns_cache=False, limit=16, keepalive_timeout=30),
        headers={"User-Agent": f"{AGENT}/{version('pilotfish')} ({own_word()})", "Accept-Encoding": "identity"},
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        timeout=aiohttp.ClientTimeout(total=SECONDS),
    )


async def ask(
    client: aiohttp.ClientSession,
    address: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> Answer:
    """One request; any status but a redirect is an answer.

    Raises:
        Failed: there is none, or it is not one that we take.
    """
    timeout = aiohttp.ClientTimeout(total=seconds)
    try:
        async with client.request(
            method, address, data=body, headers=headers, allow_redirects=False, timeout=timeout
        ) as answer:
            if 300 <= answer.status < 400:
                raise Failed("redirect", f"status {answer.status}: redirects are not followed")
            if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
                raise Failed("encoding", "a compressed answer, which was not asked for")
            parts: list[bytes] = []
            size = 0
            async for part in answer.content.iter_any():
                size += len(part)
                if size > MAX_BYTES:
                    raise Failed("too_large", f"an answer of more than {MAX_BYTES} bytes")
                parts.append(part)
            return Answer(answer.status, b"".join(parts))
    except TimeoutError:
        raise Failed("timeout", f"no whole answer within {seconds:g} s") from None
    except (aiohttp.ClientConnectionError, OSError) as error:
        raise Failed("connect", _TLS.sub("", str(error)) or type(error).__name__) from None
    except (aiohttp.ClientError, ValueError) as error:
        raise Failed("protocol", f"{type(error).__name__}: {error}"[:300]) from None
