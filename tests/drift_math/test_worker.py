"""The short-lived process that builds tables and phi."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from pilotfish_agent.drift import tables as table_file
from pilotfish_agent.drift import worker
from pilotfish_agent.drift.dependence import Phi
from pilotfish_agent.drift.phi import PhiRequest
from pilotfish_agent.drift.tables import TableSpec
from pilotfish_agent.drift.worker import Job, JobError, Phis, Tables, start_phi, start_tables
from tests.drift_math import golden
from tests.drift_math.test_tables import SPECS, same


def finished(job: Job) -> object:
    job.wait()
    return job.result()


def test_tables_of_a_worker_equal_those_built_here(tmp_path: Path) -> None:
    """Built in another process, bit for bit; the second start reads the cache and starts no process."""
    path = tmp_path / "tables.npz"
    job = start_tables(SPECS, 1000.0, 3, str(path))
    assert job.pid is not None
    built = finished(job)
    assert isinstance(built, Tables)
    assert all(same(a, b) for a, b in zip(built.tables, table_file.build(SPECS, 1000.0), strict=True))
    again = start_tables(SPECS, 1000.0, 3, str(path))
    assert again.pid is None
    assert again.poll()
    cached = again.result()
    assert isinstance(cached, Tables)
    assert all(same(a, b) for a, b in zip(built.tables, cached.tables, strict=True))


def test_a_damaged_cache_is_built_again(tmp_path: Path) -> None:
    """What cannot be read is replaced."""
    path = tmp_path / "tables.npz"
    path.write_bytes(b"PK\x03\x04 no")
    assert isinstance(finished(start_tables(SPECS[1:2], 1000.0, 1, str(path))), Tables)
    assert table_file.load(str(path), SPECS[1:2], 1000.0, 1) is not None


def test_tables_without_a_cache_leave_no_file() -> None:
    """The job's own folder goes with it."""
    job = start_tables(SPECS[1:2], 1000.0, 1, None)
    assert job._folder is not None
    folder = Path(job._folder.name)
    assert folder.is_dir()
    assert isinstance(finished(job), Tables)
    assert not folder.exists()


def test_a_failing_job_says_why() -> None:
    """The last line of what went wrong is in the error."""
    bad = TableSpec("x", "numeric", np.array([100.0, 100, 0, 0, 0]), (7,))
    with pytest.raises(JobError, match=r"pf-worker ended with 1; IndexError"):
        finished(start_tables([bad], 1000.0, 1, None))


def test_a_cache_that_cannot_be_written_fails_the_job(tmp_path: Path) -> None:
    """The folder's place is taken by a file."""
    (tmp_path / "file").write_text("")
    with pytest.raises(JobError, match="ended with 1"):
        finished(start_tables(SPECS[1:2], 1000.0, 1, str(tmp_path / "file" / "tables.npz")))


def test_a_killed_worker_is_a_failed_job() -> None:
    """Killed from outside, for instance when memory runs out: an error, no result, no folder."""
    job = start_tables(SPECS, 1000.0, 3, None)
    assert job.pid is not None
    assert job._folder is not None
    folder = Path(job._folder.name)
    os.kill(job.pid, signal.SIGKILL)
    with pytest.raises(JobError, match="ended with -9"):
        finished(job)
    assert not folder.exists()


def test_kill_ends_the_process_and_the_job() -> None:
    """Afterwards there is no process and no result."""
    job = start_tables(SPECS, 1000.0, 3, None)
    pid = job.pid
    assert pid is not None
    job.kill()
    assert job.pid is None
    assert job.poll()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    with pytest.raises(JobError, match="was ended"):
        job.result()
    job.kill()  # a second time does nothing


def test_a_job_over_its_time_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that hangs does not hold up tables for ever."""
    monkeypatch.setattr(worker, "LIMIT_SECONDS", -1.0)
    job = start_tables(SPECS, 1000.0, 3, None)
    assert job.poll()
    with pytest.raises(JobError, match="took longer than"):
        job.result()


def test_phi_job() -> None:
    """Phi of each stream equals the value computed here: 1 for independent rows, more for repeated ones."""
    counts = np.array(golden.vectors()["layout"]["counts"] + [0, 0, 0])
    rng = np.random.default_rng(7)
    phis = {name: Phi(name, counts, numeric=True) for name in ("single", "fourfold")}
    for _ in range(200):
        phis["single"].add(rng.multinomial(100, counts / counts.sum()))
        phis["fourfold"].add(4 * rng.multinomial(25, counts / counts.sum()))
    found = finished(start_phi(PhiRequest(tuple(phis), tuple(phis.values()))))
    assert isinstance(found, Phis)
    assert found.values == {name: phi.value() for name, phi in phis.items()}
    assert found.values["single"] == 1.0
    assert 3 < found.values["fourfold"] < 8


def test_a_worker_is_named_and_of_low_priority(tmp_path: Path) -> None:
    """Seen from outside: name, niceness and first choice when memory runs out."""
    script = tmp_path / "order.py"
    script.write_text(
        textwrap.dedent(
            """
            import os
            from pilotfish_agent.drift.worker import _give_way
            _give_way()
            print(open("/proc/self/comm").read().strip(), os.nice(0), open("/proc/self/oom_score_adj").read().strip())
            """
        )
    )
    said = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout.split()
    assert said == ["pf-worker", "19", "1000"]


def test_running_from_cached_tables_never_imports_scipy(tmp_path: Path) -> None:
    """The resident process loads the cache, steps, dates, measures and resolves with numpy alone."""
    path = tmp_path / "tables.npz"
    table_file.save(str(path), SPECS, 1000.0, table_file.build(SPECS, 1000.0))
    script = textwrap.dedent(
        """
        import sys
        import numpy as np
        from pilotfish_agent.drift import worker
        from pilotfish_agent.drift.dependence import Phi
        from pilotfish_agent.drift.detectors.shiryaev_roberts import Engine
        from pilotfish_agent.drift.effect import effect
        from pilotfish_agent.drift.resolve import Resolve
        from tests.drift_math.test_tables import SPECS
        job = worker.start_tables(SPECS, 1000.0, 3, sys.argv[1])
        assert job.pid is None, "not from the cache"
        tables = job.result().tables
        engine = Engine(tables)
        counts = [np.asarray(t.counts) + 3 for t in tables]
        for _ in range(5):
            engine.step(counts)
        engine.began(0), engine.best(0, 1), engine.dump(0)
        effect(tables[0].counts, engine.since(0), tables[0].pi)
        Resolve(tables[0], 500, 1).add(counts[0])
        Phi("a", SPECS[0].counts, numeric=True).add(counts[0])
        loaded = sorted(m for m in sys.modules if m.partition(".")[0] == "scipy")
        assert not loaded, loaded
        print("clean")
        """
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, cwd=root)
    assert done.stdout.strip() == "clean", done.stderr
