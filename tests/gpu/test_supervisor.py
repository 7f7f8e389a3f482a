"""Who looks after pf-nvml: the real process, on a library that plays GPUs, hangs, fails, and comes back."""

import os
import pathlib
import signal

import pytest

from pilotfish_agent.gpu import drivers, supervisor
from pilotfish_agent.gpu.report import Gpu
from tests.capture_process.watched import gone, until
from tests.gpu import fake
from tests.gpu.watched import Watched, running, xids

pytestmark = fake.NEEDS_COMPILER


def test_without_a_driver_there_is_no_process(tmp_path: pathlib.Path) -> None:
    """A look at a few paths, again and again: a driver that comes later is found."""
    look = lambda _: drivers.found(root=str(tmp_path))  # noqa: E731
    with running(Watched(look=look)) as watched:
        report = watched.until(lambda report: report.reason == "not_installed", "a first look")
        assert (report.gpus, report.pid, report.restarts) == ((), None, 0)
        assert watched.supervisor.notices() == ()
        (tmp_path / "dev").mkdir()
        (tmp_path / "dev/nvidiactl").touch()
        watched.until(lambda report: report.pid is not None, "the driver to be found")


@pytest.mark.parametrize(
    ("path", "vendors"),
    [("/dev/kfd", ("amd",)), ("/proc/driver/nvidia", ("nvidia",)), ("/sys/module/nvidia", ("nvidia",))],
)
def test_what_tells_of_a_driver(path: str, vendors: tuple[str, ...], tmp_path: pathlib.Path) -> None:
    """A device, a module; or a library that was named and is there."""
    assert drivers.found("/no/such/library", root=str(tmp_path)) == ()
    (tmp_path / path[1:]).mkdir(parents=True)
    assert drivers.found(root=str(tmp_path)) == vendors
    assert drivers.found(str(tmp_path), root="/nowhere") == ("nvidia",)


def test_mode_off_does_nothing() -> None:
    """No thread, no process."""
    with running(Watched(mode="off")) as watched:
        assert (watched.report.reason, watched.report.pid) == ("disabled", None)
        assert watched.supervisor.notices() == ()


def test_gpus_are_told_and_the_process_ends_with_us(gpus: fake.Gpus) -> None:
    """Reports follow each other; nothing is left."""
    gpus.set(count=2)
    with running(Watched()) as watched:
        first = watched.first()
        assert [gpu.gpu for gpu in first.gpus] == ["0", "1"]
        assert (first.reason, first.restarts) == (None, 0)
        watched.until(lambda report: report.gpus[0].at > first.gpus[0].at, "another reading")
        pid = first.pid or 0
    assert gone(pid)
    assert watched.report.pid is None
    assert watched.report.ended_cpu > 0
    assert watched.count("gpu_started") == 1


def test_gpus_come_in_the_order_of_their_numbers(gpus: fake.Gpus) -> None:
    """An instance after its GPU, the eleventh after the third."""
    gpus.set(count=11, **{"2.mig": 2})
    with running(Watched()) as watched:
        labels = [gpu.gpu for gpu in watched.first().gpus]
    assert labels == ["0", "1", "2", "2/1", "2/2", *map(str, range(3, 11))]


def test_a_driver_that_hangs_is_ended_and_its_numbers_vanish(gpus: fake.Gpus) -> None:
    """Killed at the deadline, again and again while it hangs; all is there when it answers again."""
    with running(Watched(deadline=1.0)) as watched:
        first = watched.first()
        gpus.set(hang_ms__nvmlDeviceGetPowerUsage=10_000)
        hung = watched.until(lambda report: report.reason is not None, "the deadline")
        assert "did not answer within 1 s" in hung.words
        assert [(gpu.up, gpu.values, gpu.processes) for gpu in hung.gpus] == [(False, (), None)]
        assert hung.gpus[0].uuid == first.gpus[0].uuid
        until(lambda: gone(first.pid or 0), "its end")
        assert watched.supervisor.notices() == (f"gpu: {hung.words}",)
        watched.until(lambda report: report.restarts >= 2, "another one that hangs")
        gpus.unset("hang_ms.nvmlDeviceGetPowerUsage")
        back = watched.until(lambda report: report.reason is None, "the driver to answer")
        assert back.gpus[0].up
        assert len(back.gpus[0].values) > 20
        assert watched.count("gpu_hung") >= 2


def test_a_start_that_hangs_is_ended(gpus: fake.Gpus) -> None:
    """Finding the GPUs may take longer, not for ever."""
    gpus.set(hang_ms__nvmlInitWithFlags=60_000)
    with running(Watched(deadline=0.3)) as watched:
        watched.until(lambda report: "did not answer" in report.words, "its end")
        assert watched.report.gpus == ()


def test_a_stopped_process_is_a_hung_one(gpus: fake.Gpus) -> None:
    """Between two readings as well."""
    del gpus
    with running(Watched(deadline=1.0)) as watched:
        pid = watched.first().pid or 0
        os.kill(pid, signal.SIGSTOP)
        watched.until(lambda report: report.restarts == 1 and report.reason is None, "another one")
        assert gone(pid)


def test_a_killed_process_costs_a_moment_only(gpus: fake.Gpus) -> None:
    """The numbers stay for a deadline; the next one knows them again. XIDs of both add up."""
    gpus.set(xid=31)
    with running(Watched()) as watched:
        pid = watched.first().pid or 0
        gpus.set(xid_count=2)
        watched.until(lambda report: xids(report.gpus[0]) == {"31": 2}, "two XIDs")
        os.kill(pid, signal.SIGKILL)
        watched.until(lambda report: report.restarts == 1, "another one")
        assert watched.report.gpus[0].up
        at = watched.report.gpus[0].at
        watched.until(lambda report: report.gpus[0].at > at, "its first reading")
        assert xids(watched.report.gpus[0]) == {"31": 2}
        gpus.set(xid_count=3)
        watched.until(lambda report: xids(report.gpus[0]) == {"31": 3}, "a third one")
        assert watched.count("gpu_ended") == 1


def test_what_a_gpu_does_is_no_error_of_the_agent() -> None:
    """Events of level error page for the agent (PilotfishAgentErrors); a lost GPU has an alert of its own."""
    assert "error" not in {event.level for event in supervisor.EVENTS}


def test_a_lost_gpu_is_down_and_comes_back(gpus: fake.Gpus) -> None:
    """Its series vanish but for its XIDs; the other one is not touched, the process neither."""
    gpus.set(count=2)
    with running(Watched()) as watched:
        watched.first()
        gpus.set(**{"1.lost": 1, "1.xid_count": 1})
        lost = watched.until(lambda report: not report.gpus[1].up and bool(report.gpus[1].values), "the loss")
        assert xids(lost.gpus[1]) == {"79": 1}
        assert lost.gpus[0].up
        gpus.set(**{"1.lost": 0})
        back = watched.until(lambda report: report.gpus[1].up, "it to come back")
        assert len(back.gpus[1].values) > 20
        assert (back.pid, back.restarts) == (lost.pid, 0)
        assert (watched.count("gpu_lost"), watched.count("gpu_back")) == (1, 1)


def test_a_driver_that_is_exchanged_is_asked_by_another_process(gpus: fake.Gpus) -> None:
    """Until then its GPUs are down, and the words say what to do."""
    with running(Watched()) as watched:
        pid = watched.first().pid
        gpus.set(fail__nvmlInitWithFlags=18, fail__nvmlDeviceGetTemperature=18)
        down = watched.until(lambda report: report.reason is not None, "the mismatch")
        assert (down.reason, down.gpus[0].up) == ("failed", False)
        assert "load it anew" in down.words
        assert watched.supervisor.notices() == (f"gpu: {down.words}",)
        gpus.unset("fail.nvmlInitWithFlags", "fail.nvmlDeviceGetTemperature")
        back = watched.until(lambda report: report.reason is None, "the new driver")
        assert back.gpus[0].up
        assert back.pid != pid
        assert watched.count("gpu_unavailable") == 1, "told once, however often it is tried"


def test_a_driver_that_cannot_be_asked_is_asked_ever_more_rarely(gpus: fake.Gpus) -> None:
    """As in a container without GPUs on a host that has some; where the driver is not loaded nobody is told."""
    gpus.set(fail__nvmlInitWithFlags=9)
    with running(Watched(again=0.02)) as watched:
        report = watched.until(lambda report: report.restarts >= 3, "some attempts")
        assert (report.reason, report.gpus) == ("not_installed", ())
        assert watched.supervisor.notices() == ()
        assert watched.count("gpu_unavailable") == 1
        gpus.set(fail__nvmlInitWithFlags=0)
        watched.first()


def test_counts_go_on_over_a_reload_of_the_driver(gpus: fake.Gpus) -> None:
    """It counts from 0 again; what is told never falls."""

    def joules(told: tuple[Gpu, ...]) -> float:
        return sum(value.value for gpu in told for value in gpu.values if value.name == "gpu_energy_joules_total")

    with running(Watched()) as watched:
        gpus.set(energy_mj=5_000)
        before = joules(watched.until(lambda report: joules(report.gpus) >= 5, "5 J").gpus)
        gpus.set(energy_mj=1_000)
        watched.until(lambda report: joules(report.gpus) == before + 1, "1 J more")
