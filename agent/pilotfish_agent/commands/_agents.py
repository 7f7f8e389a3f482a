"""Finding a running agent by its runtime folder, and asking it."""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotfish_agent.launch import places
from pilotfish_core.errors import PilotfishError, UnavailableError, UsageError

CONTROL = "control.sock"
_SECONDS = 5.0
_WORK_SECONDS = 600.0  # a reload may build a reference of a data file first
_LONGEST = 32 * 2**20  # a status of 10,000 streams is under 8 MiB
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 - an address to ask, not to bind


@dataclass(frozen=True, slots=True)
class Agent:
    """A running agent.

    Attributes:
        name: of its instance.
        address: where it listens, ``host:port``; empty where it could not bind one.
        folder: its runtime folder.
    """

    name: str
    address: str
    folder: str = ""


def bases() -> list[str]:
    """The runtime folders to look in, as the launcher makes them."""
    return places.runtime_bases(lambda name: os.environ.get(name, ""))


def agents(folders: Sequence[str]) -> Iterator[Agent]:
    """Every instance with an address or a control socket, by folder and name; whether it still answers is not asked."""
    for folder in dict.fromkeys(folders):
        try:
            found = sorted(Path(folder).iterdir())
        except OSError:
            continue
        for instance in found:
            try:
                address = (instance / "address").read_text(encoding="utf-8")[:300].strip()
            except (OSError, UnicodeDecodeError):
                address = ""
            if address or os.path.lexists(instance / CONTROL):
                yield Agent(instance.name, address, str(instance))


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
    if not agent.address:
        raise UnavailableError(f"agent {agent.name} listens nowhere yet", todo="its log says why: is the port taken?")
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
            todo="look at its log; under `run` its guard starts it again after a crash",
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


def ask(agent: Agent, request: Mapping[str, Any]) -> dict[str, Any]:
    """Has an agent do something, and waits for its answer: `pilotfish_agent.control`.

    Raises:
        UnavailableError: it does not answer.
        RefusedError: it will not; the exit code is the agent's.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(_SECONDS)
            connection.connect(f"{agent.folder}/{CONTROL}")
            connection.settimeout(_WORK_SECONDS)
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as lines:
                answer = json.loads(lines.readline(_LONGEST))
    except (OSError, ValueError, RecursionError) as error:
        raise UnavailableError(
            f"agent {agent.name}: {agent.folder}/{CONTROL} does not answer ({str(error) or type(error).__name__})",
            todo="run it as the agent's user, and look at the agent's log",
        ) from None
    if not isinstance(answer, dict) or not answer.get("ok"):
        raise RefusedError(answer if isinstance(answer, dict) else {})
    return answer


class RefusedError(PilotfishError):
    """The agent's own error, with its exit code."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        super().__init__(str(answer.get("error") or "the agent gave no reason"))
        code = answer.get("code")
        self.exit_code = code if isinstance(code, int) else 1


def _answers(agent: Agent) -> bool:
    try:
        get(agent, "/api/v1/status")
    except UnavailableError as error:
        return "is not ready" in error.what
    return True
