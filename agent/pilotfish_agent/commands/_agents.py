"""Finding a running agent by its runtime folder, and asking it."""

from __future__ import annotations

import http.client
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotfish_agent.launch import places
from pilotfish_core.errors import UnavailableError, UsageError

_SECONDS = 5.0
_LONGEST = 32 * 2**20  # a status of 10,000 streams is under 8 MiB
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - an address to ask, not to bind


@dataclass(frozen=True, slots=True)
class Agent:
    """A running agent: its instance name and where it listens (``host:port``)."""

    name: str
    address: str


def bases() -> list[str]:
    """The runtime folders to look in, as the launcher makes them."""
    return places.runtime_bases(lambda name: os.environ.get(name, ""))


def agents(folders: Sequence[str]) -> Iterator[Agent]:
    """Every instance with an address, by folder and name; whether it still answers is not asked."""
    for folder in dict.fromkeys(folders):
        try:
            found = sorted(Path(folder).iterdir())
        except OSError:
            continue
        for instance in found:
            try:
                address = (instance / "address").read_text(encoding="utf-8")[:300].strip()
            except (OSError, UnicodeDecodeError):
                continue
            if address:
                yield Agent(instance.name, address)


def find(name: str | None, folders: Sequence[str] | None = None) -> Agent:
    """The agent called ``name``, or the only one there is.

    Raises:
        UnavailableError: there is none.
        UsageError: there are several and no name was given, or none of that name.
    """
    looked = bases() if folders is None else folders
    known = list(agents(looked))
    if name is not None:
        for agent in known:
            if agent.name == name:
                return agent
        names = ", ".join(a.name for a in known) or "none is running"
        raise UsageError("--agent", got=name, expected=f"a running instance ({names})")
    if len(known) > 1:
        # A crash leaves its address behind: only those that answer count.
        known = [a for a in known if _answers(a)]
    if not known:
        where = ", ".join(looked)
        raise UnavailableError(
            f"no running agent in {where}", todo="start one with `pilotfish run -- CMD` or `pilotfish attach`"
        )
    if len(known) > 1:
        names = ", ".join(a.name for a in known)
        raise UsageError(f"{len(known)} agents are running: {names}", todo="choose one with --agent NAME")
    return known[0]


def get(agent: Agent, path: str) -> Any:
    """The JSON at ``path`` of the agent.

    Raises:
        UnavailableError: it does not answer, or not with JSON.
    """
    host, _, port = agent.address.rpartition(":")
    host = _ANYWHERE.get(host, host).strip("[]")
    try:
        connection = http.client.HTTPConnection(host, int(port), timeout=_SECONDS)
        try:
            connection.request("GET", path, headers={"Accept": "application/json"})
            answer = connection.getresponse()
            body = answer.read(_LONGEST)
        finally:
            connection.close()
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise UnavailableError(
            f"agent {agent.name} at {agent.address} does not answer ({str(error) or type(error).__name__})",
            todo="look at its log; after a crash its model's guard starts it again",
        ) from None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise UnavailableError(
            f"agent {agent.name} at {agent.address}", got=body[:60], expected=f"JSON at {path}"
        ) from None
    if answer.status != http.client.OK:
        why = document.get("error") if isinstance(document, dict) else None
        raise UnavailableError(f"agent {agent.name} is not ready: {why or answer.reason}", todo="try again in a second")
    return document


def _answers(agent: Agent) -> bool:
    try:
        get(agent, "/api/v1/status")
    except UnavailableError as error:
        return "is not ready" in error.what
    return True
