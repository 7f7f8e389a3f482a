"""Section `capture` of the configuration: how traffic is seen, and how much of it is kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pilotfish_agent.launch.values import listen_address
from pilotfish_core.config import choice, option, size, text
from pilotfish_core.errors import UsageError

SECTION = "capture"
MAX_PORTS = 8
"""Ports watched at most: a tree that listens on more is no model server."""
LARGEST_BODY = 8 << 20
"""`exchange.MAX_COPY`: what one copy may hold in all."""


def _bytes(value: Any, low: int, high: int) -> int:
    amount = size(value)
    if not low <= amount <= high:
        raise ValueError(f"a size from {low >> 10}KiB to {high >> 20}MiB such as 1MiB")
    return amount


def _items(value: Any, words: str) -> list[str]:
    """A list, or a text of items with commas (environment)."""
    items = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
    if any(isinstance(item, bool | list | dict) or item is None for item in items):
        raise ValueError(words)
    return [str(item).strip() for item in items if str(item).strip()]


def _ports(value: Any, most: int) -> tuple[int, ...]:
    words = f"at most {most} TCP ports such as [8501, 8502]"
    items = _items(value, words)
    if any(not (i.isascii() and i.isdigit() and len(i) <= 5 and 0 < int(i) < 65_536) for i in items):
        raise ValueError(words)
    ports = tuple(sorted({int(item) for item in items}))
    if len(ports) > most:
        raise ValueError(words)
    return ports


def _names(value: Any) -> tuple[str, ...]:
    words = "names of at most 16 network interfaces such as [lo, eth0]"
    items = _items(value, words)
    if len(items) > 16 or any(len(item.encode()) > 15 or "/" in item for item in items):
        raise ValueError(words)
    return tuple(dict.fromkeys(items))


def _address(value: Any) -> str:
    try:
        host, port = listen_address(text(300)(value))
    except UsageError:
        raise ValueError("HOST:PORT such as 127.0.0.1:8500") from None
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class Config:
    """Capture: how the model's traffic is seen from outside, see docs/capture.md."""

    mode: str = option(
        "auto", choice("auto", "tap", "relay", "off"), "How traffic is seen; auto never takes the relay.", "auto"
    )
    bodies: str = option(
        "sampled",
        choice("sampled", "all", "none"),
        "Which bodies are looked at; with sampled, those of errors always are.",
        "sampled",
    )
    budget: int = option(8 << 20, lambda v: _bytes(v, 1 << 10, 1 << 30), "Bytes of bodies kept a second.", "8MiB")
    body_limit: int = option(
        1 << 20, lambda v: _bytes(v, 1 << 10, LARGEST_BODY), "Bytes kept of one body; the rest is cut.", "1MiB"
    )
    ports: tuple[int, ...] = option(
        (), lambda v: _ports(v, MAX_PORTS), "TCP ports to watch; none given: those the model listens on.", "[8501]"
    )
    ignore_ports: tuple[int, ...] = option(
        (), lambda v: _ports(v, 100), "TCP ports of the model that are not watched.", "[8002]"
    )
    interfaces: tuple[str, ...] = option(
        (), _names, "Network interfaces to tap; none given: all of them.", "[lo, eth0]"
    )
    relay_listen: str | None = option(
        None, _address, "Where the relay listens; clients must be sent there.", "127.0.0.1:8500"
    )
    relay_upstream: str | None = option(
        None, _address, "The model's address for the relay; none given: its first port.", "127.0.0.1:8501"
    )
    relay_cert: str | None = option(
        None,
        text(4_000),
        "PEM certificate chain with which the relay ends TLS; none given: TLS passes.",
        "/etc/tls.crt",
    )
    relay_key: str | None = option(
        None, text(4_000), "File of its private key; none given: it is in relay_cert.", "/etc/tls.key"
    )

    def __post_init__(self) -> None:
        """Refuses what cannot work together; the words are what was expected."""
        if self.mode == "relay" and self.relay_listen is None:
            raise ValueError("capture.relay_listen (--relay-listen ADDR) with mode relay")
        if self.relay_key is not None and self.relay_cert is None:
            raise ValueError("capture.relay_cert with capture.relay_key")
