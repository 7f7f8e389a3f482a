"""The demo: a real model, real traffic over HTTP, four shifts; what is said must be true of the data.

Every row runs `examples/digits/demo.py` or ``make demo`` itself; the verdicts come from `/api/v1/drift` only.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import pathlib
import re
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import psutil

from benchmarks.bars import Result, bar, versions
from examples.digits import classifier
from examples.digits.classifier import Images
from examples.digits.demo import Story, demonstrate
from examples.digits.traffic import SHIFTS, Draws

ROOT = pathlib.Path(__file__).parents[2]
FOUND_WITHIN = 30.0  # seconds after the shift
FULL = 150
CLONE_LIMIT = 900.0
STEP = re.compile(r"(unseen categories|'\d+') ([\d.]+) % -> ([\d.]+) %")
LAST_LINE = re.compile(r"demo: drift found (\d+\.\d) s after the shift, 0 alarms before")
TOLERANCE = 0.02
"""Of a reference's share against the true one: 20,000 draws have a standard error of .0035 at most."""
LISTED = 0.001
"""Share from which a reference lists a level: 20 of its 20,000 rows; rarer ones are among the unseen."""


def play(shift: str, seed: int, *, seconds: float, clean: float) -> Story:
    """One demo in this environment, its lines kept off the rows' output."""
    options = argparse.Namespace(shift=shift, seed=seed, seconds=seconds, shift_after=clean)
    with contextlib.redirect_stdout(io.StringIO()):
        return demonstrate(options)


def delay(story: Story) -> float:
    """Seconds from the shift to the first alarm; infinite when there was none."""
    if story.found_at is None or story.shifted_at is None:
        return float("inf")
    return story.found_at - story.shifted_at


def holds(story: Story) -> bool:
    """No alarm before, found in time."""
    return not story.before and delay(story) <= FOUND_WITHIN


@bar("demo in this checkout, 60 s", "0 alarms before the shift, found <= 30 s, nothing left")
def checkout() -> Result:
    usual = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="pf-bar-", dir="/tmp") as folder:
        tempfile.tempdir = folder
        try:
            story = play("frozen", 11, seconds=60, clean=28)
        finally:
            tempfile.tempdir = usual
        left = [str(p.pid) for p in psutil.process_iter() if folder in _words(p)] + os.listdir(folder)
    return Result(
        f"found {delay(story):.1f} s after the shift, {len(story.before)} alarms before, {len(left)} things left",
        holds(story) and not left,
        versions("scikit-learn"),
    )


@bar("make demo DEMO_SECONDS=150 from a fresh clone, empty HOME", "exit 0, found <= 30 s, 0 before", slow=True)
def fresh_clone() -> Result:
    with tempfile.TemporaryDirectory(prefix="pf-clone-", dir="/tmp") as folder:
        clone, home = pathlib.Path(folder) / "clone", pathlib.Path(folder) / "home"
        home.mkdir()
        subprocess.run(("git", "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone)), check=True)
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PILOTFISH_", "DEMO_", "PYTHON", "VIRTUAL"))}
        kept.pop("MAKEFLAGS", None)
        began = time.monotonic()
        done = subprocess.run(
            ("make", "demo", f"DEMO_SECONDS={FULL}"),
            cwd=clone,
            env=kept | {"HOME": str(home)},
            capture_output=True,
            text=True,
            timeout=CLONE_LIMIT,
        )
        took = time.monotonic() - began
        last = (done.stdout.splitlines() or [""])[-1]
        found = LAST_LINE.fullmatch(last)
        left = [p.pid for p in psutil.process_iter() if folder in _words(p)]
        return Result(
            f"exit {done.returncode} after {took:.0f} s: {last or done.stderr[-200:]}, {len(left)} processes left",
            done.returncode == 0 and found is not None and float(found[1]) <= FOUND_WITHIN and not left,
        )


def _words(process: psutil.Process) -> str:
    """Its command line and environment: every process of a demo has the demo's folder in one of them."""
    try:
        return " ".join((*process.cmdline(), *process.environ().values()))
    except psutil.Error:
        return ""


def columns(images: Images, model: Any) -> dict[str, np.ndarray]:
    """Each categorical stream's values."""
    streams = {name: images[:, i] for i, name in enumerate(classifier.PIXELS)}
    return streams | {"@prediction": classifier.probabilities(model, images).argmax(1)}


def truth(shift: str) -> Callable[[str, str], tuple[float, float]]:
    """(stream, level) -> its share in clean and in shifted traffic, from 40,000 draws each."""
    model, draws = classifier.train(), Draws(99)
    clean, shifted = columns(draws.clean(40_000), model), columns(SHIFTS[shift](draws, 40_000), model)

    def shares(stream: str, level: str) -> tuple[float, float]:
        if level == "unseen categories":
            values, counts = np.unique(clean[stream], return_counts=True)
            listed = values[counts >= LISTED * len(clean[stream])]
            return tuple(float(np.mean(~np.isin(x[stream], listed))) for x in (clean, shifted))  # type: ignore[return-value]
        number = int(level.strip("'"))
        return float(np.mean(clean[stream] == number)), float(np.mean(shifted[stream] == number))

    return shares


def lies(story: Story, shares: Callable[[str, str], tuple[float, float]]) -> list[str]:
    """Explanations whose direction is not that of the data, or whose reference share is not the true one."""
    wrong = []
    for stream, text in story.after.items():
        for level, before, now in STEP.findall(text) if stream != "@score" else ():
            said = float(before) / 100, float(now) / 100
            true = shares(stream, level)
            if (said[1] > said[0]) != (true[1] > true[0]) or abs(said[0] - true[0]) > TOLERANCE:
                wrong.append(f"{stream} {level} {before} -> {now}")
    return wrong


def named(shift: str, story: Story) -> bool:
    """Whether the alarms name what was done: the pixel that froze, the class that gained; else any pixel."""
    steps = {stream: STEP.findall(text) for stream, text in story.after.items()}
    if shift == "frozen":
        pixels = {stream for stream in steps if stream.startswith("pixel_")}
        return pixels == {"pixel_27"} and _gained(steps["pixel_27"], "'0'")
    if shift == "imbalance":
        return _gained(steps.get("@prediction", []), "'0'")
    return sum(bool(found) for stream, found in steps.items() if stream.startswith("pixel_")) >= 3


def _gained(steps: list[tuple[str, str, str]], level: str) -> bool:
    return any(name == level and float(now) > float(before) for name, before, now in steps)


def explained(shift: str) -> Result:
    """Two seeds of one shift."""
    shares = truth(shift)
    stories = [play(shift, seed, seconds=80, clean=25) for seed in (1, 2)]
    wrong = [text for story in stories for text in lies(story, shares)]
    words = ", ".join(
        f"{delay(s):.1f} s, {len(s.before)} before, {len(s.after)} streams, "
        + ("names it" if named(shift, s) else "does not name it")
        for s in stories
    )
    return Result(
        words + (f", wrong: {'; '.join(wrong[:5])}" if wrong else ", directions true"),
        all(holds(s) and named(shift, s) for s in stories) and not wrong,
        versions("scikit-learn"),
    )


_BAR = "found <= 30 s, 0 before, right stream, right direction"


@bar("demo: noise, 2 seeds", _BAR, slow=True)
def noise() -> Result:
    return explained("noise")


@bar("demo: rotation, 2 seeds", _BAR, slow=True)
def rotation() -> Result:
    return explained("rotation")


@bar("demo: imbalance, 2 seeds", _BAR, slow=True)
def imbalance() -> Result:
    return explained("imbalance")


@bar("demo: frozen pixel, 2 seeds", _BAR, slow=True)
def frozen() -> Result:
    return explained("frozen")
