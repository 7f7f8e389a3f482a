"""State files survive: whole after a crash, refused when altered."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish_agent.state import files


def test_written_bytes_come_back(tmp_path: Path) -> None:
    """What was written is what is read."""
    path = str(tmp_path / "x")
    files.write_atomic(path, b"payload")
    assert files.read_checked(path) == b"payload"
    files.write_atomic(path, b"newer")
    assert files.read_checked(path) == b"newer"
    assert os.listdir(tmp_path) == ["x"]


def test_missing_is_none_and_not_an_error(tmp_path: Path) -> None:
    """No file is no data, not a failure."""
    assert files.read_checked(str(tmp_path / "x")) is None


@given(st.data())
def test_any_truncation_or_flip_is_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """No alteration passes as state."""
    path = tmp_path_factory.mktemp("s") / "x"
    files.write_atomic(str(path), b"some bytes of state")
    raw = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    if data.draw(st.booleans()):
        del raw[at:]
    else:
        raw[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(bytes(raw))
    with pytest.raises(ValueError, match=r"format|checksum"):
        files.read_checked(str(path))


def test_a_full_disk_keeps_the_old_file(tmp_path: Path) -> None:
    """When the new bytes cannot be written the old ones stay and no part file is left."""
    path = str(tmp_path / "x")
    files.write_atomic(path, b"old")
    before = os.listdir(tmp_path)
    pid = os.fork()
    if pid == 0:  # a limit of its own process: the test's must stay as it is
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8))
        try:
            files.write_atomic(path, b"x" * 100)
        except OSError:
            os._exit(7)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert files.read_checked(path) == b"old"
    assert os.listdir(tmp_path) == before


def test_quarantine_moves_aside(tmp_path: Path) -> None:
    """An unreadable file is kept for a look, out of the way."""
    path = tmp_path / "x"
    path.write_bytes(b"garbage")
    aside = files.quarantine(str(path))
    assert not path.exists()
    assert Path(aside).read_bytes() == b"garbage"
