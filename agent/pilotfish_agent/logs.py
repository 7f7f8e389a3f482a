"""The agent's own log: one line an event, to the journal or to a file that is rotated and capped; it never blocks.

A line is made where the event happens and written by a thread of its own behind a bounded queue, so that a full disk or
a pipe nobody reads costs lines (counted, told by the next line that gets through), never a sample or a scrape.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import structlog

MAX_FILE = 4 * 2**20
"""Bytes of one file; with `KEPT` old ones the log takes at most 12 MiB."""

KEPT = 2
WAITING = 1000
"""Lines in the queue: at 20 lines a minute of each event, only a stuck disk fills it."""

_PRIORITY = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
"""Level -> syslog priority, as the journal reads it from ``<N>`` before a line (sd-daemon(3))."""

Line = tuple[str, str]
"""(level, text without the newline)"""


def set_up(path: str, *, level: str, form: str, journal: bool = True, stderr: int = 2) -> Log:
    """Configures structlog and the standard library's logging for this process.

    Args:
        path: the file; empty: ``stderr``.
        level: debug, info, warning or error; other libraries' lines are written from warning on.
        form: json, logfmt, or auto: json in a file, logfmt elsewhere.
        journal: whether the journal, when ``stderr`` is connected to it, is taken in place of the file.
        stderr: file descriptor.
    """
    to_journal = journal and is_journal(stderr, os.environ)
    to_file = bool(path) and not to_journal
    sink = RotatedFile(path).write if to_file else _descriptor(stderr)
    as_json = form == "json" or (form == "auto" and to_file)
    log = Log(sink, as_json=as_json, prefixed=to_journal)
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.format_exc_info,
            log.render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_: log,
    )
    logging.basicConfig(handlers=[_Foreign(log)], level=max(number, logging.WARNING), force=True)
    return log


def is_journal(stderr: int, environ: Mapping[str, str]) -> bool:
    """Whether a descriptor is the journal's: ``$JOURNAL_STREAM`` holds its device and inode (systemd.exec(5))."""
    try:
        status = os.fstat(stderr)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM", "") == f"{status.st_dev}:{status.st_ino}"


class Log:
    """Takes lines without waiting; a thread writes them.

    Args:
        sink: writes one line's bytes; OSError when it cannot.
        as_json: JSON lines, else logfmt.
        prefixed: with the journal's priority.
        waiting: size of the queue in lines.
    """

    def __init__(
        self, sink: Callable[[bytes], None], *, as_json: bool, prefixed: bool = False, waiting: int = WAITING
    ) -> None:
        self._sink = sink
        self._prefixed = prefixed
        self._render: Callable[[Any, str, MutableMapping[str, Any]], Any] = (
            structlog.processors.JSONRenderer(default=str) if as_json else _logfmt
        )
        self._queue: queue.Queue[Line] = queue.Queue(waiting)
        self._lost = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._write, name="pf-log", daemon=True).start()

    def render(self, logger: Any, method: str, fields: MutableMapping[str, Any]) -> str:
        """Structlog's last processor: ts, level, event first."""
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03d}Z"
        ordered = {"ts": stamp, "level": fields.pop("level", method), "event": fields.pop("event", ""), **fields}
        return str(self._render(logger, method, ordered))

    def put(self, level: str, line: str) -> None:
        """Queues a line, or counts it as lost when nothing can be queued."""
        try:
            self._queue.put_nowait((level, line))
        except queue.Full:
            self._lose(1)

    def flush(self, seconds: float = 0.5) -> bool:
        """Waits until all is written, but not longer; whether it is."""
        until = time.monotonic() + seconds
        while self._queue.unfinished_tasks and time.monotonic() < until:
            time.sleep(0.005)
        return not self._queue.unfinished_tasks

    def debug(self, line: str) -> None:
        """Called by structlog with the finished line, as the next ones."""
        self.put("debug", line)

    def info(self, line: str) -> None:
        """As debug."""
        self.put("info", line)

    def warning(self, line: str) -> None:
        """As debug."""
        self.put("warning", line)

    def error(self, line: str) -> None:
        """As debug."""
        self.put("error", line)

    def _write(self) -> None:
        while True:
            level, line = self._queue.get()
            try:
                if self._lost:
                    told, text = self._lost, self.render(None, "warning", {"event": "log lines lost", "n": self._lost})
                    self._sink(self._bytes("warning", text))
                    self._lose(-told)
                self._sink(self._bytes(level, line))
            except OSError:
                self._lose(1)
            finally:
                self._queue.task_done()

    def _lose(self, lines: int) -> None:
        with self._lock:
            self._lost += lines

    def _bytes(self, level: str, line: str) -> bytes:
        prefix = f"<{_PRIORITY.get(level, 6)}>" if self._prefixed else ""
        return f"{prefix}{line}\n".encode("utf-8", "backslashreplace")


class RotatedFile:
    """A file that becomes ``.1`` when it is full, ``.1`` becomes ``.2``; written anew when somebody removes it.

    Args:
        path: of the file; its folder must exist.
        limit: bytes of one file.
    """

    def __init__(self, path: str, limit: int = MAX_FILE) -> None:
        self._path = path
        self._limit = limit

    def write(self, line: bytes) -> None:
        """Appends a line. Opened each time: the guard writes to the same file, and may find it rotated.

        Raises:
            OSError: the disk is full, the folder is gone, and the like.
        """
        if self._is_full(len(line)):
            self._rotate()
        fd = self._open()
        try:
            if os.write(fd, line) < len(line):  # a full disk takes a part: the rest would glue to the next line
                raise OSError("written in part")
        finally:
            os.close(fd)

    def _is_full(self, more: int) -> bool:
        try:
            return 0 < os.stat(self._path).st_size > self._limit - more
        except FileNotFoundError:
            return False

    def _open(self) -> int:
        # a path that is a pipe without reader: an error, no wait
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, 0o600)

    def _rotate(self) -> None:
        for old in range(KEPT, 0, -1):
            newer = f"{self._path}.{old - 1}" if old > 1 else self._path
            try:
                os.replace(newer, f"{self._path}.{old}")
            except FileNotFoundError:
                continue


class _Foreign(logging.Handler):
    """The standard library's door for other libraries' lines (aiohttp, asyncio)."""

    def __init__(self, log: Log) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        level = record.levelname.lower()
        fields = {"event": record.getMessage(), "level": level, "logger": record.name}
        if record.exc_info:
            fields["exception"] = logging.Formatter().formatException(record.exc_info)
        self._log.put(level, self._log.render(None, level, fields))


def _descriptor(fd: int) -> Callable[[bytes], None]:
    def write(line: bytes) -> None:
        while line:
            line = line[os.write(fd, line) :]

    return write


def _logfmt(_logger: Any, _method: str, fields: MutableMapping[str, Any]) -> str:
    """``key=value`` as Prometheus and Go services write it; quoted as JSON where it holds more than one word."""
    return " ".join(f"{key}={_word(value)}" for key, value in fields.items())


def _word(value: Any) -> str:
    text = str(value)
    plain = text and text.isprintable() and not any(c in ' ="\\' for c in text)
    return text if plain else json.dumps(text)
