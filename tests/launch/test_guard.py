"""What stands beside the model: the guard, one agent at a time, and nothing after the end."""

import json
import os
import signal
import sys
import time

import pytest

from tests.launch.box import HERE, SCRIPT, Box, read, until

SLEEP = ("sleep", "60")


def start_line(box: Box) -> str:
    """What has been printed on stderr so far."""
    return read(box.root / "err")


def pid_of(box: Box, comm: str) -> int:
    """The pid of guard or agent, once it is there."""
    until(lambda: comm in box.ours().values(), comm)
    return next(pid for pid, name in box.ours().items() if name == comm)


def test_guard_and_agent_stand_beside(box: Box) -> None:
    """One guard, one agent, in a session of their own; the model's command line is not in theirs."""
    model = box.start(*SLEEP)
    until(lambda: len(box.ours()) == 2 and box.agents("sleep"), "guard and agent")
    until(lambda: "watching" in start_line(box), "the start line")
    guard, (agent, restarts) = pid_of(box, "pf-guard"), box.agents("sleep")[0]
    assert restarts == 0
    assert {guard, agent} == set(box.ours())
    for pid in (guard, agent):
        assert "60" not in read(f"/proc/{pid}/cmdline").split("\0")
        assert os.getsid(pid) == os.getsid(guard) != os.getsid(model.pid)
        assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert read(f"/proc/{guard}/oom_score_adj") == read(f"/proc/{model.pid}/oom_score_adj")
    model.kill()
    model.wait()


def test_the_guard_is_thin(box: Box) -> None:
    """Below 12 MiB resident, and no library beyond the standard one."""
    model = box.start(*SLEEP)
    until(lambda: "watching" in start_line(box), "the start line")
    status = read(f"/proc/{pid_of(box, 'pf-guard')}/status")
    kib = int(status.partition("VmRSS:")[2].split()[0])
    assert kib < 12 * 1024
    model.kill()
    model.wait()


def test_the_guard_keeps_no_descriptor_of_the_model(box: Box) -> None:
    """After the start line only /dev/null, locks, pidfds, its pipe, the handover and the kill counter are open."""
    read_end, write_end = os.pipe()
    os.set_inheritable(write_end, True)
    model = box.start(*SLEEP)
    until(lambda: "watching" in start_line(box), "the start line")
    guard = pid_of(box, "pf-guard")
    until(lambda: not any(str(box.root / "err") in target for target in targets(guard)), "stderr to be closed")
    allowed = (
        "/dev/null",
        str(box.runtime),
        str(box.state),
        "anon_inode:[pidfd]",
        "pidfd:",
        "pipe:",
        "/memfd:pilotfish",
        "/sys/fs/cgroup",
    )
    assert [t for t in targets(guard) if not t.startswith(allowed)] == []
    assert sum(t.startswith("pipe:") for t in targets(guard)) == 1
    model.kill()
    model.wait()
    os.close(read_end)
    os.close(write_end)


def targets(pid: int) -> list[str]:
    """What the descriptors of a process lead to."""
    found = []
    for number in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{number}"))
        except FileNotFoundError:
            continue
    return found


def test_one_start_line_and_nothing_after(box: Box) -> None:
    """The agent's warnings before it is ready, then the start line, then never again."""
    model = box.start("sh", "-c", "sleep 60", "model.sh")
    until(lambda: "watching" in start_line(box), "the start line")
    agent = box.agents("sh")[0][0]
    os.kill(agent, signal.SIGKILL)
    until(lambda: len(box.agents("sh")) == 2, "the second agent")
    model.kill()
    model.wait()
    log = box.state / "sh" / "agent.log"
    assert start_line(box) == f"pilotfish: one warning\npilotfish: watching PID {model.pid} (sh), log {log}\n"


def test_a_killed_agent_is_replaced(box: Box) -> None:
    """kill -9 of the agent: the model knows nothing, the next agent knows its number, the log says it."""
    model = box.start(*SLEEP)
    for count in (1, 2, 3):
        until(lambda count=count: len(box.agents("sleep")) == count, f"agent {count}")  # type: ignore[misc]
        os.kill(box.agents("sleep")[-1][0], signal.SIGKILL)
    until(lambda: len(box.agents("sleep")) == 4, "the fourth agent")
    assert [restarts for _, restarts in box.agents("sleep")] == [0, 1, 2, 3]
    assert model.poll() is None
    assert read(box.state / "sleep" / "agent.log").count("the agent ended with -9: restart") == 3
    model.kill()
    model.wait()


def test_workers_die_with_their_agent(box: Box) -> None:
    """What a killed agent has started does not stay behind it."""
    model = box.start(*SLEEP, STAND_IN="worker")
    until(lambda: len(box.ours()) == 3, "guard, agent and worker")
    before = set(box.ours())
    os.kill(box.agents("sleep")[0][0], signal.SIGKILL)
    until(lambda: len(box.agents("sleep")) == 2 and len(box.ours()) == 3, "the next ones")
    assert len(before & set(box.ours())) == 1, "only the guard is the same"
    model.kill()
    model.wait()


def test_a_hung_agent_is_killed(box: Box) -> None:
    """Ten seconds of silence end it, and the next one starts."""
    model = box.start(*SLEEP, STAND_IN="hang")
    until(lambda: len(box.agents("sleep")) == 2, "the second agent")
    assert "said nothing for 10 s: killed" in read(box.state / "sleep" / "agent.log")
    model.kill()
    model.wait()


def test_an_agent_that_cannot_run_is_left_alone(box: Box) -> None:
    """Exit code 78: its one line, no restart, the guard leaves, the model goes on."""
    model = box.start(*SLEEP, STAND_IN="cannot")
    until(lambda: box.agents("sleep") and not box.ours(), "the guard to leave")
    assert start_line(box) == "pilotfish: no monitoring: the stand-in cannot run\n"
    assert len(box.agents("sleep")) == 1
    assert model.poll() is None
    model.kill()
    model.wait()


def test_a_crashing_agent_waits_longer_each_time(box: Box) -> None:
    """Back-off: the waits in the log double, and the model goes on."""
    model = box.start(*SLEEP, STAND_IN="crash")
    until(lambda: len(box.agents("sleep")) == 5, "five agents")
    log = read(box.state / "sleep" / "agent.log")
    assert [f"in {wait} s" in log for wait in ("0.05", "0.10", "0.20", "0.40")] == [True] * 4
    assert model.poll() is None
    model.kill()
    model.wait()


@pytest.mark.parametrize("manner", ["", "deaf", "hang", "crash", "worker"])
def test_nothing_stays_after_the_model(box: Box, manner: str) -> None:
    """Guard, agent, runtime folder: all gone, whatever the agent does about it; the state stays."""
    model = box.start(*SLEEP, STAND_IN=manner)
    until(lambda: box.agents("sleep"), "an agent")
    model.kill()
    model.wait()
    until(lambda: not box.ours(), "our processes to leave")
    until(lambda: os.listdir(box.runtime) == [], "the runtime folder to be emptied")
    assert (box.state / "sleep").is_dir()


def test_the_agent_flushes_at_the_end(box: Box) -> None:
    """It is asked before it is killed."""
    model = box.start(*SLEEP)
    until(lambda: "watching" in start_line(box), "the start line")
    model.kill()
    model.wait()
    until(lambda: not box.ours(), "our processes to leave")
    assert read(box.state / "sleep" / "flushed") == "yes"


@pytest.mark.parametrize(("script", "cause", "code"), [("exit 42", "exit_nonzero", 42), ("exit 0", "exit_zero", 0)])
def test_the_exit_is_recorded(box: Box, script: str, cause: str, code: int) -> None:
    """How the model ended stands in the state folder."""
    model = box.start("sh", "-c", f"read x; {script}", options=("--instance", "rec"))
    assert model.wait(30) == code
    until(lambda: not box.ours(), "our processes to leave")
    got = json.loads(read(box.state / "rec" / "last_exit.json"))
    assert (got["pid"], got["cause"], got["code"]) == (model.pid, cause, code)


@pytest.mark.parametrize(("number", "cause"), [(9, "oom"), (15, "signal")])
def test_the_agent_knows_what_was_killed_for_want_of_memory(box: Box, number: int, cause: str) -> None:
    """It has the control group's counter; only a SIGKILL can be the kernel's."""
    model = box.start("sleep", "60", STAND_IN="oom")
    until(lambda: "watching" in read(box.root / "err"), "the agent")
    model.send_signal(number)
    assert model.wait(30) == -number
    until(lambda: not box.ours(), "our processes to leave")
    got = json.loads(read(box.state / "sleep" / "last_exit.json"))
    assert (got["pid"], got["cause"], got["signal"]) == (model.pid, cause, number)


def test_a_restart_finds_its_state(box: Box) -> None:
    """The next model of the name has the same folder, though the guard of the last one still flushes."""
    for _ in range(3):
        model = box.start(*SLEEP, STAND_IN="deaf")
        count = len(box.agents("sleep"))
        until(lambda count=count: len(box.agents("sleep")) > count, "an agent")  # type: ignore[misc]
        model.kill()
        model.wait()
    assert sorted(os.listdir(box.state)) == ["sleep"]


def test_two_of_one_name_do_not_collide(box: Box) -> None:
    """The second gets -2 and a socket of its own."""
    models = [box.start(*SLEEP), box.start(*SLEEP)]
    until(lambda: box.agents("sleep") and box.agents("sleep-2"), "both agents")
    assert sorted(os.listdir(box.runtime)) == ["sleep", "sleep-2"]
    for model in models:
        model.kill()
        model.wait()


def test_many_starts_at_once_get_names_of_their_own(box: Box) -> None:
    """Claims are serialised: no name is given out twice."""
    models = [box.start(*SLEEP) for _ in range(8)]
    names = ["sleep", *(f"sleep-{n}" for n in range(2, 9))]
    until(lambda: all(box.agents(name) for name in names), "eight agents")
    assert sorted(os.listdir(box.runtime)) == sorted(names)
    assert all(len(box.agents(name)) == 1 for name in names)
    for model in models:
        model.kill()
    for model in models:
        model.wait()


def test_an_agent_without_its_guard_leaves_with_the_model(box: Box) -> None:
    """kill -9 of the guard: the agent goes on, and the model's end is its own."""
    model = box.start(*SLEEP)
    until(lambda: "watching" in start_line(box), "the start line")
    os.kill(pid_of(box, "pf-guard"), signal.SIGKILL)
    time.sleep(0.3)
    assert len(box.ours()) == 1
    model.kill()
    model.wait()


def test_the_guard_cannot_be_asked_to_leave(box: Box) -> None:
    """SIGTERM to a whole control group, as systemd sends it, does not end monitoring before the model."""
    model = box.start(*SLEEP)
    until(lambda: "watching" in start_line(box), "the start line")
    guard = pid_of(box, "pf-guard")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
        os.kill(guard, number)
    time.sleep(0.2)
    assert guard in box.ours()
    model.kill()
    model.wait()


def test_bad_folders_stop_nothing(box: Box) -> None:
    """No runtime folder: one line, the model runs, without our variable; --strict refuses."""
    bad = {"PILOTFISH_RUNTIME_DIR": "/dev/null/x", "TMPDIR": "/dev/null"}
    long = {"PILOTFISH_RUNTIME_DIR": "/tmp/" + "x" * 100}
    done = box.run("env", env=bad)
    assert done.returncode == 0
    assert b"PILOTFISH_SOCKET=" in done.stdout, "the temporary folder was taken"
    assert box.run("env", env=long).returncode == 0


def test_a_bad_state_folder_is_one_line(box: Box) -> None:
    """The one asked for cannot be made: said once, and the next one is used."""
    home = {"HOME": str(box.root), "XDG_STATE_HOME": str(box.root / "x")}
    done = box.run("sh", "-c", "sleep 0.2; exit 3", options=("--state-dir", "/dev/null/x"), env=home)
    assert done.returncode == 3
    lines = done.stderr.decode().splitlines()
    assert lines[0].startswith("pilotfish: state folder: /dev/null/x/sh: ")
    assert sum("state folder" in line for line in lines) == 1


def test_no_process_to_spare(box: Box) -> None:
    """RLIMIT_NPROC or descriptors used up: one line, the model runs."""
    import resource
    import subprocess

    from tests.launch.box import WITH_STAND_IN

    done = subprocess.run(
        [*WITH_STAND_IN, "--", "echo", "ran"],
        env=box.env,
        capture_output=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (5, 5)),
    )
    assert (done.returncode, done.stdout) == (0, b"ran\n")


def test_strict_asks_first(box: Box) -> None:
    """--strict with a wrong configuration: exit 2, the key is named, the model is not started."""
    config = box.root / "bad.yaml"
    config.write_text("drift: {tick: soon}\n", encoding="ascii")
    done = box.run("echo", "started", launcher=SCRIPT, options=("--strict", "--config", str(config)))
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"drift.tick" in done.stderr or b"tick" in done.stderr
    assert os.listdir(box.runtime) == []
    good = box.run("echo", "started", launcher=SCRIPT, options=("--strict", "--quiet", "--listen", "127.0.0.1:0"))
    assert (good.returncode, good.stdout) == (0, b"started\n")


def test_without_pidfds_pid_and_start_time_do(box: Box) -> None:
    """Before Linux 5.3: the guard looks at /proc, restarts what dies, and leaves after the model."""
    code = (
        "import os, sys\n"
        "def refused(pid): raise OSError(38, 'not here')\n"
        "os.pidfd_open = refused\n"
        "from pilotfish_agent.launch.launcher import run\n"
        f"sys.exit(run(sys.argv[1:], [sys.executable, {str(HERE / 'stand_in.py')!r}]))"
    )
    launcher = [sys.executable, "-c", code]
    done = box.run("sh", "-c", "sleep 1.5; exit 3", launcher=launcher, options=("--quiet",), env={"STAND_IN": "crash"})
    assert done.returncode == 3
    until(lambda: not box.runtime.exists() or not os.listdir(box.runtime), "the guard to leave")
    assert len(box.agents("sh")) > 1
