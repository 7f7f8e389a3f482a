"""``control.sock``: what changes a running agent, for its own user alone (mode 0600, and the peer's uid is checked).

One request a connection, one JSON line each way: ``{"do": "reload"}``, ``{"do": "accept", "model": "fraud"}`` ->
``{"ok": true, "words": "..."}`` or ``{"ok": false, "error": "...", "code": 2}``, ``code`` as the command's exit code.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from pilotfish_agent import old_socket
from pilotfish_core.errors import PilotfishError, UnavailableError, UsageError
from pilotfish_core.events import Event, Events

Request = Mapping[str, Any]
Action = Callable[[Request], Awaitable[Mapping[str, Any]]]

CONTROL_REFUSED = Event("control_refused", "warning", "A request on control.sock was refused; words say why.")
CONTROL_BAD = Event("control_bad", "error", "The control socket cannot be made; `reload` and `accept` find no agent.")
EVENTS = (CONTROL_REFUSED, CONTROL_BAD)

MAX_LINE: Final = 64 << 10
READ_SECONDS: Final = 5.0
MAX_CLIENTS: Final = 16
"""Open at once; more are turned away: requests are a person's, or a script's after a deploy."""
_PEER: Final = struct.Struct("3i")  # pid, uid, gid: SO_PEERCRED of unix(7)


class Control:
    """The socket.

    Args:
        path: where it is made; a stale one is replaced.
        actions: by the word of ``do``; each returns what stands in the answer beside ``ok``.
        events: where refusals are told.
    """

    def __init__(self, path: str, actions: Mapping[str, Action], events: Events) -> None:
        self._path = path
        self._actions = actions
        self._events = events
        self._server: asyncio.Server | None = None
        self._clients = 0

    async def start(self) -> None:
        """Listens. Where that cannot be, the agent goes on without: the event says so."""
        try:
            made = _bind(self._path)
        except (OSError, PilotfishError) as error:
            self._events.emit(CONTROL_BAD, path=self._path, error=str(error))
            return
        self._server = await asyncio.start_unix_server(self._serve, sock=made, limit=MAX_LINE)

    async def stop(self) -> None:
        """Stops listening and removes the socket."""
        if self._server is None:
            return
        self._server.close()
        self._server = None
        try:
            os.unlink(self._path)
        except FileNotFoundError:
            pass  # somebody cleaned up before us

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        try:
            answer = await self._answer(reader, writer)
            writer.write(json.dumps(answer).encode() + b"\n")
            await asyncio.wait_for(writer.drain(), READ_SECONDS)
        except (OSError, TimeoutError):
            pass  # it did not wait for its answer
        finally:
            self._clients -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Mapping[str, Any]:
        try:
            self._admit(writer.get_extra_info("socket"))
            request = _read(await asyncio.wait_for(_line(reader), READ_SECONDS))
            action = self._actions.get(str(request.get("do")))
            if action is None:
                words = " or ".join(self._actions)
                raise UsageError("control.sock: unknown request", got=request.get("do"), expected=words)
            return {"ok": True, **await action(request)}
        except TimeoutError:
            return _refusal(UsageError("control.sock: no request came", expected=f"a line within {READ_SECONDS:.0f} s"))
        except PilotfishError as error:
            self._events.emit(CONTROL_REFUSED, error=error.line())
            return _refusal(error)
        except Exception as error:  # noqa: BLE001 - the boundary of control.sock: whoever asks hears that it failed
            self._events.emit(CONTROL_REFUSED, error=f"{type(error).__name__}: {error}", exc_info=True)
            return _refusal(UnavailableError("the agent failed to do it", todo="its log says why"))

    def _admit(self, connection: socket.socket) -> None:
        raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
        _, uid, _ = _PEER.unpack(raw)
        if uid not in (os.geteuid(), 0):
            raise UnavailableError("control.sock", got=f"uid {uid}", expected=f"the agent's own user {os.geteuid()}")
        if self._clients > MAX_CLIENTS:
            raise UnavailableError("control.sock: too many requests at once", todo="try again in a second")


def _refusal(error: PilotfishError) -> Mapping[str, Any]:
    return {"ok": False, "error": error.line(), "code": error.exit_code}


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        return error.partial
    except asyncio.LimitOverrunError:
        raise UsageError("control.sock: request too long", expected=f"at most {MAX_LINE} bytes") from None


def _read(line: bytes) -> Request:
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        raise UsageError("control.sock: no request", got=line[:60], expected='a JSON line such as {"do": "reload"}')
    return request


def _bind(path: str) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
    try:
        old_socket.remove(path, "control socket")
        mask = os.umask(0o177)  # never open to others, not for a moment
        try:
            made.bind(path)
        finally:
            os.umask(mask)
    except BaseException:
        made.close()
        raise
    return made
