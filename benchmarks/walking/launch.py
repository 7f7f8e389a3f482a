"""The launcher's bars: what `run` costs the model, and that the model's life is as without it.

Rows that look at the model use the real command; those that start hundreds of models put the tests' small stand-in
in the agent's place, because only the launcher is looked at. CPU is the scheduler's own count
(/proc/PID/schedstat, nanoseconds), read by the model as its first act.
"""

from __future__ import annotations

import atexit
import functools
import http.client
import importlib.util
import os
import pathlib
import pty
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from benchmarks.bars import Result, bar
from tests.launch.box import HERE, ROOT, SCRIPT, WITH_STAND_IN, Box, read
from tests.launch.signals import NAMES

QUIET = [*SCRIPT, "--quiet", "--listen", "127.0.0.1:0", "--"]
MODEL = [sys.executable, "-I", "-S", str(HERE / "signals.py")]
ROUNDS = 15
ALLOWED_MS = 5.0
ALLOWED_SHARE = 0.4
"""Of what `python -c pass` takes: on a fast machine 5 ms would let an `import re` pass."""
ALLOWED = f"{ALLOWED_MS:g} ms, and <= {ALLOWED_SHARE:.0%} of it"
# The command as pip writes it for an entry point: the mutant which the CPU row must notice.
PIP_MADE = """#!{python}
# -*- coding: utf-8 -*-
import re
import sys
from pilotfish_agent.cli import main
if __name__ == '__main__':
    sys.argv[0] = re.sub(r'(-script\\.pyw|\\.exe)?$', '', sys.argv[0])
    sys.exit(main(sys.argv[1:]))
"""


@contextmanager
def a_box() -> Iterator[Box]:
    """A box that is emptied by force at the end."""
    with tempfile.TemporaryDirectory(prefix="pf", dir="/tmp") as folder:
        box = Box(pathlib.Path(folder))
        try:
            yield box
        finally:
            wait(lambda: not box.ours(), 3)
            for pid in box.ours():
                os.kill(pid, signal.SIGKILL)


def wait(what: Callable[[], object], seconds: float = 30.0) -> float:
    """Seconds until ``what`` came true; infinity when it did not."""
    start = time.monotonic()
    while not what():
        if time.monotonic() - start > seconds:
            return float("inf")
        time.sleep(0.002)
    return time.monotonic() - start


@functools.cache
def clean_venv() -> pathlib.Path:
    """A venv with our wheel and nothing else, removed at the end of the run."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="pfvenv"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet"]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(ROOT)]
    subprocess.run(wheel, check=True, stdout=sys.stderr)
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    install = [*pip, "--python", str(venv / "bin" / "python"), "install", "--no-deps", "--no-index"]
    subprocess.run([*install, *map(str, folder.glob("*.whl"))], check=True, stdout=sys.stderr)
    mutant = venv / "bin" / "pip-made"
    mutant.write_text(PIP_MADE.format(python=venv / "bin" / "python"), encoding="ascii")
    mutant.chmod(0o755)
    return venv


def cpu_of(command: list[str], env: dict[str, str]) -> tuple[float, float]:
    """(CPU ms, wall ms) to a model's first instruction; of a command that prints nothing, CPU and wall of all of it."""
    start = time.perf_counter()
    read_end, write_end = os.pipe()
    pid = os.posix_spawn(command[0], command, env, file_actions=[(os.POSIX_SPAWN_DUP2, write_end, 1)])
    os.close(write_end)
    with open(read_end, "rb") as file:
        told = file.read()
    wall = (time.perf_counter() - start) * 1e3
    usage = os.wait4(pid, 0)[2]
    whole = (usage.ru_utime + usage.ru_stime) * 1e3
    return (int(told.split()[0]) / 1e6 if told else whole), wall


@functools.cache
def first_instruction() -> dict[str, tuple[float, float]]:
    """Medians of `cpu_of` for python itself, for the command, and for the mutant, measured in turns."""
    python = clean_venv() / "bin"
    run = ["run", "--quiet", "--", "/bin/cat", "/proc/self/schedstat"]
    cases = {
        "python": [str(python / "python"), "-c", "pass"],
        "command": [str(python / "pilotfish"), *run],
        "mutant": [str(python / "pip-made"), *run],
    }
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
    with a_box() as box:
        for turn in range(ROUNDS + 2):
            for name, command in cases.items():
                numbers = cpu_of(command, box.env)
                found[name] += [numbers] if turn >= 2 else []
                wait(lambda: not box.ours(), 5)
    return {
        name: (statistics.median(cpu for cpu, _ in numbers), statistics.median(wall for _, wall in numbers))
        for name, numbers in found.items()
    }


def cost(name: str) -> tuple[float, float, str]:
    """(CPU ms above `python -c pass`, what is allowed of them on this machine, the words for it)."""
    numbers = first_instruction()
    python, wall = numbers["python"]
    added = numbers[name][0] - python
    words = f"{added:+.1f} ms ({numbers[name][0]:.1f} CPU, {numbers[name][1]:.1f} wall; python -c pass "
    words += f"{python:.1f} CPU, {wall:.1f} wall; median of {ROUNDS})"
    return added, min(ALLOWED_MS, ALLOWED_SHARE * python), words


@bar("launch: CPU to the model's first instruction, clean venv", f"<= python -c pass + {ALLOWED}")
def cpu_to_first_instruction() -> Result:
    added, allowed, words = cost("command")
    return Result(words, added <= allowed)


@bar("launch: the CPU row notices an entry point that imports re", f"it is > python -c pass + {ALLOWED}")
def mutant_is_seen() -> Result:
    added, allowed, words = cost("mutant")
    return Result(words, added > allowed)


@bar("launch: 8 signals to the launched pid", "each exactly once")
def signals() -> Result:
    with a_box() as box:
        log = box.root / "signals"
        model = subprocess.Popen([*QUIET, *MODEL, str(log)], env=box.env)
        wait(lambda: read(log).startswith("ready"))
        wait(lambda: "pf-agent" in box.ours().values(), 10)
        for count, name in enumerate(NAMES, 2):
            model.send_signal(getattr(signal, "SIG" + name))
            wait(lambda count=count: len(read(log).splitlines()) >= count, 5)  # type: ignore[misc]
        time.sleep(0.3)  # for a second delivery, which must not come
        words = read(log).split()
        (box.root / "signals.stop").touch()
        model.wait(30)
    got = [words[2:].count("SIG" + name) for name in NAMES]
    return Result(
        f"{got.count(1)} of {len(NAMES)} once, pid {'same' if words[1] == str(model.pid) else 'other'}",
        got == [1] * len(NAMES) and words[1] == str(model.pid),
    )


@bar("launch: exit codes 0..255 and death by 6 signals", "262 of 262 as the bare command")
def exits() -> Result:
    scripts = [f"exit {code}" for code in range(256)]
    scripts += [f"ulimit -c 0; kill -{name} $$" for name in ("HUP", "INT", "ABRT", "KILL", "SEGV", "TERM")]
    with a_box() as box, ThreadPoolExecutor(3) as pool:

        def pair(script: str) -> tuple[int, int]:
            return box.run("sh", "-c", script, launcher=[]).returncode, box.run("sh", "-c", script).returncode

        pairs = list(pool.map(pair, scripts))
    same = sum(bare == ours for bare, ours in pairs)
    return Result(f"{same} of {len(pairs)}", same == len(pairs) and len({bare for bare, _ in pairs}) == len(pairs))


@bar("launch: what cannot be started", "127 not found, 126 not executable")
def not_started() -> Result:
    with a_box() as box:
        codes = [
            box.run(word, launcher=SCRIPT).returncode for word in ("/nonexistent", "no-such-program", "/etc/passwd")
        ]
    return Result(" ".join(map(str, codes)), codes == [127, 127, 126])


@bar("launch: stdout and stderr end after the model's last act", "<= 100 ms, median of 9")
def pipes() -> Result:
    with a_box() as box:
        late = []
        env = box.env | {"STAND_IN": "crash"}  # never ready: the guard has its copy of stderr to the end
        for _ in range(9):
            command = [*WITH_STAND_IN, "--", "sh", "-c", "sleep 0.4; exec date +%s%N >&2"]
            done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
            late.append(time.time() - int(done.stdout.split()[-1]) / 1e9)
    middle = statistics.median(late)
    return Result(f"{middle * 1e3:.0f} ms, worst {max(late) * 1e3:.0f}", middle <= 0.1)


@bar("launch: a terminal keeps job control", "Ctrl-C once, foreground group, Ctrl-Z, fg")
def terminal() -> Result:
    with a_box() as box:
        log = box.root / "signals"
        pid, master = pty.fork()
        if pid == 0:
            os.execve("/bin/bash", ["/bin/bash", "--norc", "--noprofile", "-i"], box.env)
        os.write(master, " ".join([*QUIET, *MODEL, str(log)]).encode() + b"\n")
        wait(lambda: read(log).startswith("ready"))
        model = int(read(log).split()[1])
        held = {"foreground": os.tcgetpgrp(master) == os.getpgid(model)}
        os.write(master, b"\x03")
        wait(lambda: "SIGINT" in read(log), 5)
        os.write(master, b"\x1a")
        held["stopped"] = wait(lambda: "State:\tT" in read(f"/proc/{model}/status"), 5) < 5
        os.write(master, b"fg\n")
        held["continued"] = wait(lambda: "SIGCONT" in read(log), 5) < 5
        held["foreground again"] = wait(lambda: os.tcgetpgrp(master) == os.getpgid(model), 5) < 5
        held["Ctrl-C once"] = read(log).count("SIGINT") == 1
        (box.root / "signals.stop").touch()
        wait(lambda: not os.path.exists(f"/proc/{model}"), 10)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(master)
    return Result(", ".join(f"{name} {'yes' if good else 'NO'}" for name, good in held.items()), all(held.values()))


def probe(box: Box, setting: str, launcher: list[str]) -> list[bytes]:
    """What a model is told by the kernel about itself, without what must differ (pid, memory, our one variable)."""
    files = "/proc/self/environ /proc/self/limits /proc/self/status"
    line = f"{setting} {' '.join(launcher)} bash -c 'cat {files}; ls /proc/self/fd; pwd; nice; ulimit -a'; exit $?"
    done = subprocess.run(["bash", "-c", line], env=box.env, capture_output=True, stdin=subprocess.DEVNULL, timeout=60)
    lines = done.stdout.replace(b"\0", b"\n").split(b"\n")
    # Of the status only what is handed on; bash's own _ names the launcher.
    told = (b"SigBlk", b"SigIgn", b"SigCgt", b"Umask")
    kept = [line for line in lines if line.startswith(told) or b":\t" not in line]
    return [line for line in kept if not line.startswith((b"PILOTFISH_SOCKET=", b"_="))] + [done.stderr]


@bar("launch: variables, masks, dispositions, limits, descriptors", "as the bare command's but for PILOTFISH_SOCKET")
def inheritance() -> Result:
    settings = ["", "trap '' PIPE;", "trap '' XFSZ;", "trap '' INT HUP;", "umask 027; ulimit -n 100;"]
    settings += ["export LC_ALL=C;", "exec 7</dev/null;", "exec 0<&-;", "renice -n 3 $$ >/dev/null;", "cd /usr;"]
    with a_box() as box:
        same = [probe(box, setting, []) == probe(box, setting, QUIET) for setting in settings]
        shown = len(probe(box, "", QUIET))
    return Result(f"{sum(same)} of {len(same)} settings, {shown} lines each", all(same) and shown > 40)


@bar("launch: all of ours is gone after the model's end", "<= 1 s, worst of 5, also when the agent hears no SIGTERM")
def gone() -> Result:
    took = []
    with a_box() as box:
        for manner in ("", "deaf", "", "deaf", ""):
            model = box.start("sleep", "60", STAND_IN=manner)
            wait((box.runtime / "sleep" / "address").exists, 10)
            model.kill()
            model.wait()
            took.append(wait(lambda: not box.ours() and not os.listdir(box.runtime), 5))
    return Result(f"{max(took):.2f} s", max(took) <= 1.0)


@bar("launch: pf-guard resident", "< 12 MiB")
def guard_memory() -> Result:
    with a_box() as box:
        model = box.start("sleep", "60")
        wait(lambda: "watching" in read(box.root / "err"))
        guard = next(pid for pid, comm in box.ours().items() if comm == "pf-guard")
        rollup = dict(line.split(":") for line in read(f"/proc/{guard}/smaps_rollup").splitlines()[1:])
        rss, pss = (int(rollup[key].split()[0]) / 1024 for key in ("Rss", "Pss"))
        model.kill()
        model.wait()
    return Result(f"{rss:.1f} MiB RSS, {pss:.1f} PSS", rss < 12)


def healthy(address_file: pathlib.Path) -> bool:
    """Whether the agent at the address in this file says it is well."""
    host, _, port = read(address_file).strip().rpartition(":")
    try:
        connection = http.client.HTTPConnection(host, int(port), timeout=1)
        connection.request("GET", "/-/healthy")
        return connection.getresponse().status == 200
    except (OSError, ValueError, http.client.HTTPException):
        return False


@bar("launch: kill -9 of the agent, until it is healthy again", "<= 2 s, median of 3; the model untouched")
def agent_killed() -> Result:
    if importlib.util.find_spec("pilotfish_agent.start") is None:
        return Result("there is no agent yet", None)
    took = []
    with a_box() as box:
        model = subprocess.Popen([*QUIET, "sleep", "120"], env=box.env)
        address = box.runtime / "sleep" / "address"
        if wait(lambda: healthy(address)) > 30:
            model.kill()
            model.wait()
            last = (read(box.state / "sleep" / "agent.log").strip().splitlines() or ["no log"])[-1]
            return Result(f"never healthy: {last}".replace("\t", " "), False)
        for _ in range(3):
            agent = next(pid for pid, comm in box.ours().items() if comm == "pf-agent")
            os.kill(agent, signal.SIGKILL)
            wait(lambda agent=agent: agent not in box.ours(), 5)  # type: ignore[misc]
            took.append(wait(lambda: healthy(address)))
        alive = model.poll() is None
        model.kill()
        model.wait()
    middle = statistics.median(took)
    return Result(f"{middle:.2f} s, model {'untouched' if alive else 'ENDED'}", alive and middle <= 2)
