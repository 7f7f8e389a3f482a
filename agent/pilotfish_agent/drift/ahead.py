"""Reads a large data file in a process of its own, so that parsing and judging share a machine's cores."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from pilotfish_agent.drift.readers import STDIN, DataFile
from pilotfish_agent.drift.rows import Rows
from pilotfish_core.errors import DataError, PilotfishError

WORTH_BYTES = 8 << 20
"""A smaller file is read within a second: a process more would cost as much as it saves."""
_ATTRIBUTES = ("names", "rows", "skipped")


def worth_it(file: DataFile) -> bool:
    """Whether a second process helps: a large file, and a second core to read it on."""
    if file.path == STDIN or len(os.sched_getaffinity(0)) < 2:
        return False
    return os.path.isfile(file.path) and os.path.getsize(file.path) >= WORTH_BYTES


class ReadAhead:
    """A `DataFile` that is read elsewhere; iterates the same `Rows`, has the same attributes, raises the same errors.

    The pipe bounds it: the reader waits once two or so batches are in it.
    """

    def __init__(self, file: DataFile) -> None:
        self.path = file.path
        self.name = file.name
        self.layout = file.layout
        self.size = os.path.getsize(file.path)
        self.position = 0
        self.names = file.names
        self.rows = 0
        self.skipped = 0
        self._file = file

    def __iter__(self) -> Iterator[Rows]:
        """Batches of rows, in file order.

        Raises:
            DataError: as `DataFile`; also when the reader is killed.
        """
        context = multiprocessing.get_context("fork")  # the file's layout is there already, and nothing to import
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_read, args=(self._file, sender, receiver), daemon=True)
        process.start()
        sender.close()
        try:
            while True:
                try:
                    kind, value, attributes = receiver.recv()
                except EOFError:
                    raise DataError(f"{self.name}: its reader was killed", todo="is there memory enough?") from None
                for name, content in attributes.items():
                    setattr(self, name, content)
                if kind == "error":
                    raise value
                if kind == "end":
                    self.position = self.size
                    return
                yield value
        finally:
            receiver.close()
            process.terminate()
            process.join()


def _read(file: DataFile, sender: Connection, receiver: Connection) -> None:
    """The reader's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends us
    receiver.close()
    try:
        for rows in file:
            sender.send(("rows", rows, _attributes(file)))
        sender.send(("end", None, _attributes(file)))
    except PilotfishError as error:
        sender.send(("error", error, _attributes(file)))
    except BrokenPipeError:
        pass  # nobody wants the rest


def _attributes(file: DataFile) -> dict[str, Any]:
    return {name: getattr(file, name) for name in _ATTRIBUTES} | {"position": file.position}
