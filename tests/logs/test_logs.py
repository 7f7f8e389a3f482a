"""The agent's log: forms, levels, rotation, and that a stuck or full sink never blocks or grows."""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent import logs
from pilotfish_agent.logs import Log, RotatedFile
from pilotfish_core.clock import ManualClock
from pilotfish_core.events import Event, Events

BOILS = Event("kettle_boils", "warning", "The kettle boils.")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    """Leaves structlog and logging as they were."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def write(path: Path, form: str = "auto", level: str = "info") -> list[str]:
    """The lines after one event, one info, and one foreign line."""
    log = logs.set_up(str(path), level=level, form=form)
    Events(ManualClock()).emit(BOILS, degrees=100, note="two\nlines")
    structlog.get_logger("x").info("quiet")
    logging.getLogger("aiohttp.server").warning("late %s", "again")
    assert log.flush(5)
    return path.read_text().splitlines()


def test_json_in_a_file(tmp_path: Path) -> None:
    """A file gets JSON lines with ts, level and event first; an event keeps its name and fields."""
    lines = [json.loads(line) for line in write(tmp_path / "agent.log")]
    assert [list(line)[:3] for line in lines] == [["ts", "level", "event"]] * 3
    assert lines[0]["ts"].endswith("Z")
    first = {k: v for k, v in lines[0].items() if k != "ts"}
    assert first == {
        "level": "warning",
        "event": "The kettle boils.",
        "kind": "kettle_boils",
        "degrees": 100,
        "note": "two\nlines",
    }


def test_other_libraries_come_in(tmp_path: Path) -> None:
    """What aiohttp logs stands in the same file with its logger's name."""
    foreign = json.loads(write(tmp_path / "agent.log")[-1])
    assert (foreign["event"], foreign["level"], foreign["logger"]) == ("late again", "warning", "aiohttp.server")


def test_foreign_traceback_is_one_line(tmp_path: Path) -> None:
    """A traceback does not break the one line of an event."""
    log = logs.set_up(str(tmp_path / "a.log"), level="info", form="json")
    try:
        raise KeyError("lost")
    except KeyError:
        logging.getLogger("asyncio").exception("task died")
    assert log.flush(5)
    (line,) = (tmp_path / "a.log").read_text().splitlines()
    assert "KeyError: 'lost'" in json.loads(line)["exception"]


def test_logfmt(tmp_path: Path) -> None:
    """logfmt quotes what holds more than one word, and stays on one line."""
    line = write(tmp_path / "agent.log", "logfmt")[0]
    assert line.split(" ", 1)[1] == (
        'level=warning event="The kettle boils." kind=kettle_boils degrees=100 note="two\\nlines"'
    )


def test_level(tmp_path: Path) -> None:
    """Below the level nothing is written."""
    assert len(write(tmp_path / "a.log", level="warning")) == 2
    log = logs.set_up(str(tmp_path / "b.log"), level="error", form="auto")
    Events(ManualClock()).emit(BOILS)
    assert log.flush(5)
    assert not (tmp_path / "b.log").exists()


def test_log_is_private(tmp_path: Path) -> None:
    """Others cannot read it: it may hold names of features."""
    write(tmp_path / "agent.log")
    assert (tmp_path / "agent.log").stat().st_mode & 0o777 == 0o600


def test_no_path_is_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a file the lines go to stderr, in logfmt."""
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    reader, writer = os.pipe()
    log = logs.set_up("", level="info", form="auto", stderr=writer)
    structlog.get_logger().info("here", n=1)
    assert log.flush(5)
    assert os.read(reader, 1000).decode().endswith("level=info event=here n=1\n")
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("allowed", [True, False])
def test_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: bool) -> None:
    """Connected to the journal, lines carry its priority and no file is written, unless a file was asked for."""
    reader, writer = os.pipe()
    status = os.fstat(writer)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    path = tmp_path / "agent.log"
    log = logs.set_up(str(path), level="info", form="auto", journal=allowed, stderr=writer)
    structlog.get_logger().warning("here")
    assert log.flush(5)
    assert path.exists() is not allowed
    if allowed:
        assert os.read(reader, 1000).startswith(b"<4>ts=")
    os.close(reader)
    os.close(writer)


def test_journal_variable_of_somebody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """An inherited JOURNAL_STREAM of another descriptor, or a closed descriptor, is no journal."""
    assert not logs.is_journal(0, {"JOURNAL_STREAM": "1:1"})
    assert not logs.is_journal(0, {})
    reader, writer = os.pipe()
    os.close(reader)
    os.close(writer)
    assert not logs.is_journal(writer, {"JOURNAL_STREAM": "1:1"})


def test_rotation_is_capped(tmp_path: Path) -> None:
    """A full file is moved aside; however much is written, three files of the limit stay."""
    file = RotatedFile(str(tmp_path / "a.log"), limit=100)
    for i in range(50):
        file.write(b"%09d\n" % i)
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ["a.log", "a.log.1", "a.log.2"]
    assert all(p.stat().st_size <= 100 for p in tmp_path.iterdir())
    kept = b"".join((tmp_path / n).read_bytes() for n in reversed(names)).split()
    assert [int(x) for x in kept] == list(range(50 - len(kept), 50))


def test_line_longer_than_the_file(tmp_path: Path) -> None:
    """One line above the limit has a file of its own."""
    file = RotatedFile(str(tmp_path / "a.log"), limit=10)
    file.write(b"x" * 50)
    file.write(b"y" * 50)
    assert (tmp_path / "a.log").read_bytes() == b"y" * 50


def test_file_that_cannot_be_moved_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error is that of the move: no descriptor is closed twice, by then it may be a client's connection."""

    def refuse(_from: str, _to: str) -> None:
        raise PermissionError(13, "Permission denied")

    file = RotatedFile(str(tmp_path / "a.log"), limit=10)
    file.write(b"x" * 10)
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(PermissionError):
        file.write(b"y" * 10)


def test_removed_file_comes_back(tmp_path: Path) -> None:
    """An operator's rm or logrotate's move is no problem."""
    file = RotatedFile(str(tmp_path / "a.log"))
    file.write(b"1\n")
    (tmp_path / "a.log").rename(tmp_path / "moved")
    file.write(b"2\n")
    assert (tmp_path / "a.log").read_bytes() == b"2\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_full_disk_is_an_error() -> None:
    """A disk that takes nothing is told to the writer."""
    with pytest.raises(OSError, match="No space left"):
        RotatedFile("/dev/full").write(b"x\n")


def test_lost_lines_are_told(tmp_path: Path) -> None:
    """While nothing can be written lines are counted; the next one that gets through says how many."""
    folder = tmp_path / "later"
    log = Log(RotatedFile(str(folder / "a.log")).write, as_json=True)
    for _ in range(3):
        log.info("{}")
    assert log.flush(5)
    folder.mkdir()
    log.info('{"event": "back"}')
    assert log.flush(5)
    lines = [json.loads(line) for line in (folder / "a.log").read_text().splitlines()]
    assert [(x["event"], x.get("n")) for x in lines] == [("log lines lost", 3), ("back", None)]


def test_stuck_sink_never_blocks() -> None:
    """With a sink that hangs the callers go on, memory is bounded and flush gives up."""
    stuck = threading.Event()
    written: list[bytes] = []

    def sink(line: bytes) -> None:
        stuck.wait(30)
        written.append(line)

    log = Log(sink, as_json=False, waiting=10)
    for _ in range(1000):
        log.error("x")
    assert not log.flush(0.01)
    stuck.set()
    assert log.flush(10)
    lost = next(line for line in written if b"log lines lost" in line)
    assert 985 <= int(lost.rsplit(b"n=", 1)[1]) <= 990
    assert written.count(b"x\n") + int(lost.rsplit(b"n=", 1)[1]) == 1000


LOGS = {as_json: Log(lambda _: None, as_json=as_json) for as_json in (True, False)}
ANY = st.one_of(st.text(), st.floats(), st.none(), st.binary(), st.lists(st.text()))


@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), ANY), st.booleans())
def test_any_field_is_one_line(fields: dict[str, object], as_json: bool) -> None:
    """Whatever an event carries, its line is one line and encodable."""
    log = LOGS[as_json]
    line = log._bytes("info", log.render(None, "info", {"event": "e", **fields}))
    assert line.count(b"\n") == 1
    assert len(line.decode().splitlines()) == 1
