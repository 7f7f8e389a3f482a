"""The stub's bars: what a parent of the model must do, and what it costs beside tini.

The tests' small stand-in is in the agent's place: only the parent is looked at.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from benchmarks.bars import Result, bar
from benchmarks.walking.launch import MODEL, a_box, wait
from tests.launch.box import SCRIPT, WITH_STAND_IN, Box, read

STUB = [*WITH_STAND_IN, "--supervise", "--quiet", "--"]
NAMESPACE = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
KINDS = [n for n in sorted(signal.valid_signals()) if n not in (signal.SIGKILL, signal.SIGSTOP)]
CODES = (*range(0, 256, 8), 126, 127, 255)
DEATHS = ("HUP", "INT", "ABRT", "KILL", "SEGV", "TERM")
ROUNDS = 15
THIN_MIB = 12.0
ORPHANS = 50


@bar("stub: every signal a program may take, sent to the stub", "each exactly once")
def signals() -> Result:
    with a_box() as box:
        log = box.root / "signals"
        stub = subprocess.Popen([*STUB, *MODEL, str(log), "all"], env=box.env)
        wait(lambda: read(log).startswith("ready"))
        for count, number in enumerate(KINDS, 2):
            stub.send_signal(number)
            wait(lambda count=count: len(read(log).splitlines()) >= count, 5)  # type: ignore[misc]
        time.sleep(0.3)  # for a second delivery, which must not come
        came = read(log).split()[2:]
        (box.root / "signals.stop").touch()
        stub.wait(30)
    once = sum(came.count(str(int(number))) == 1 for number in KINDS)
    return Result(f"{once} of {len(KINDS)} once, {len(came)} in all", once == len(came) == len(KINDS))


@bar("stub: exit codes and deaths, and last_exit.json of each", "passed on, and told exactly")
def endings() -> Result:
    scripts = [(f"exit {code}", code) for code in CODES]
    scripts += [(f"ulimit -c 0; kill -{name} $$", -getattr(signal, "SIG" + name)) for name in DEATHS]
    with a_box() as box, ThreadPoolExecutor(3) as pool:

        def one(numbered: tuple[int, tuple[str, int]]) -> tuple[bool, bool]:
            number, (script, expected) = numbered
            options = ("--supervise", "--quiet", "--instance", f"m{number}")
            code = box.run("sh", "-c", f"sleep 0.1; {script}", options=options).returncode
            found = _last_exit(box, f"m{number}")
            return code == expected, found == (expected if expected >= 0 else None, -expected if expected < 0 else None)

        pairs = list(pool.map(one, enumerate(scripts)))
    passed, told = (sum(column) for column in zip(*pairs, strict=True))
    return Result(f"{passed} and {told} of {len(pairs)}", passed == told == len(pairs))


def _last_exit(box: Box, name: str) -> tuple[int | None, int | None]:
    try:
        found = json.loads(read(box.state / name / "last_exit.json"))
    except ValueError:
        return None, None
    return found["code"], found["signal"]


@bar("stub: PID 1 of a pid namespace", f"0 zombies of {ORPHANS} orphans; SIGTERM without handler: 143; agent flushed")
def pid_one() -> Result:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        return Result("a pid namespace needs root and unshare", None)
    script = f"for i in $(seq {ORPHANS}); do (sleep 0.2 & ) ; done; sleep 1; ps -eo stat= | grep -c '^Z'"
    with a_box() as box:
        words = [*NAMESPACE, *WITH_STAND_IN, "--quiet", "--"]
        done = subprocess.run([*words, "sh", "-c", script], env=box.env, capture_output=True, text=True, timeout=60)
        flushed = read(box.state / "sh" / "flushed") == "yes"
        parent = subprocess.Popen([*words, "sleep", "60"], env=box.env)
        children = pathlib.Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
        wait(lambda: read(children).strip() and read(f"/proc/{int(read(children))}/comm") == "pf-stub\n")
        os.kill(int(read(children)), signal.SIGTERM)
        code = parent.wait(30)
    zombies = done.stdout.strip()
    words_of = f"{zombies} zombies, {code}, {'flushed' if flushed else 'not flushed'}"
    return Result(words_of, (zombies, code, flushed) == ("0", 143, True))


@bar("stub: SIGKILL of the agent", "restarted, the model untouched; stub < 12 MiB RSS")
def agent_killed() -> Result:
    with a_box() as box:
        stub = subprocess.Popen([*STUB, "sleep", "60"], env=box.env)
        wait(lambda: box.agents("sleep"))
        resident = int(read(f"/proc/{stub.pid}/status").partition("VmRSS:")[2].split()[0]) / 1024
        os.kill(box.agents("sleep")[-1][0], signal.SIGKILL)
        again = wait(lambda: len(box.agents("sleep")) == 2, 5)
        untouched = stub.poll() is None
        stub.terminate()
        code = stub.wait(30)
        left = len(box.ours())
    words = f"again after {again * 1e3:.0f} ms, {resident:.1f} MiB, then {code} and {left} left"
    return Result(words, again < 5 and untouched and resident < THIN_MIB and code == -signal.SIGTERM and not left)


@bar("stub: wall time to the model's first instruction, beside tini", "<= in place + 10 ms")
def delay() -> Result:
    if (tini := shutil.which("tini")) is None:
        return Result("tini is not installed: make system-deps", None)
    cases = {
        "bare": [],
        "tini": [tini, "-s", "--"],
        "in place": [*SCRIPT, "--quiet", "--listen", "127.0.0.1:0", "--"],
        "stub": [*SCRIPT, "--supervise", "--quiet", "--listen", "127.0.0.1:0", "--"],
    }
    found: dict[str, list[float]] = {name: [] for name in cases}
    with a_box() as box:
        for turn in range(ROUNDS + 1):
            for name, words in cases.items():
                taken = _first_instruction(words, box)
                found[name] += [taken] if turn else []
                wait(lambda: not box.ours(), 5)
    median = {name: statistics.median(numbers) for name, numbers in found.items()}
    words_of = ", ".join(f"{name} {number:.1f}" for name, number in median.items())
    version = subprocess.run([tini, "--version"], capture_output=True, text=True, timeout=10).stdout.split()[2]
    return Result(f"{words_of} ms (median of {ROUNDS})", median["stub"] <= median["in place"] + 10, f"tini {version}")


def _first_instruction(words: list[str], box: Box) -> float:
    """Milliseconds from the start of a command to the first line of the model, a shell."""
    start = time.perf_counter()
    with subprocess.Popen(
        [*words, "sh", "-c", "echo; exec >&-; exec sleep 0.1"], env=box.env, stdout=subprocess.PIPE, stderr=sys.stderr
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        return (time.perf_counter() - start) * 1e3
