"""State files of the pipeline's parts: what cannot be written or read costs an event, never the part."""

from __future__ import annotations

from collections.abc import Callable

from pilotfish_agent.state import files
from pilotfish_core.events import Event, Events

STATE_UNREADABLE = Event("state_unreadable", "warning", "A state file could not be read; moved aside, started without.")
STATE_UNWRITABLE = Event("state_unwritable", "warning", "State could not be written; the older file stays.")
EVENTS = (STATE_UNREADABLE, STATE_UNWRITABLE)


def save(path: str, events: Events, *payload: bytes | memoryview) -> None:
    """Replaces the file."""
    try:
        files.write_atomic(path, *payload)
    except OSError as error:
        events.emit(STATE_UNWRITABLE, path=path, error=str(error))


def restore(path: str, events: Events, take: Callable[[bytes], object]) -> None:
    """Gives what the file holds to ``take``; when it is damaged, or ``take`` raises ValueError, it is moved aside."""
    try:
        saved = files.read_checked(path)
        if saved is not None:
            take(saved)
    except (OSError, ValueError) as error:
        events.emit(STATE_UNREADABLE, path=path, error=str(error))
        try:
            files.quarantine(path)
        except OSError:
            pass  # the next save replaces it
