"""``make demo``: a real model watched by ``pilotfish run``, real traffic over HTTP, a shift, an alarm that says what.

Environment (make variables too): DEMO_SECONDS ends the demo that long after the first request, else Ctrl-C does;
DEMO_SHIFT is noise, rotation, imbalance or frozen; DEMO_SEED makes the draws repeatable.
Exit 0 when an alarm of severity warning or critical came after the shift and none before it, else 1.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from examples.digits import classifier
from examples.digits.traffic import SHIFTS, Draws, Traffic

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parents[1]
CONFIG: Final = HERE / "pilotfish.yaml"
REFERENCE_ROWS: Final = 20_000
CLEAN_SECONDS: Final = 60.0
CLEAN_SHARE: Final = 0.4  # of a demo shorter than 150 s
JUDGED_BEFORE_SHIFT: Final = 10.0  # seconds that the detector has seen clean rows; its tables take seconds to build
POLL_SECONDS: Final = 0.25
START_SECONDS: Final = 60.0
SHOWN: Final = 6
LONGEST_FOLDER: Final = 50  # characters; the path of a Unix socket has 107, and longer ones go elsewhere
PAGING: Final = ("warning", "critical")


def say(text: str) -> None:
    """One line, at once."""
    print(text, flush=True)


def counted(number: int, what: str) -> str:
    """``1 alarm``, ``0 alarms``."""
    return f"{number} {what}{'s' * (number != 1)}"


class DemoError(Exception):
    """Something did not start; the text is for the user."""


@dataclass(slots=True)
class Story:
    """What has been seen so far.

    Attributes:
        before: features that alarmed before the shift.
        after: features that alarmed after it, with their explanations, in order.
        judged_at: when the detector first gave a verdict.
        shifted_at: when the shift began; found_at: when the first alarm after it was read. Monotonic seconds.
    """

    before: list[str] = field(default_factory=list)
    after: dict[str, str] = field(default_factory=dict)
    judged_at: float | None = None
    shifted_at: float | None = None
    found_at: float | None = None

    def take(self, items: list[dict[str, Any]], now: float) -> list[dict[str, Any]]:
        """Takes an answer of `/api/v1/drift`; returns the alarms that are new in it."""
        if self.judged_at is None and any(item["verdict"] != "not_enough_data" for item in items):
            self.judged_at = now
        alarms = [item for item in items if item["severity"] in PAGING]
        fresh = [a for a in alarms if a["feature"] not in self.before and a["feature"] not in self.after]
        for alarm in fresh:
            if self.shifted_at is None:
                self.before.append(alarm["feature"])
            else:
                self.after[alarm["feature"]] = alarm["explanation"]
                self.found_at = self.found_at or now
        return fresh

    def outcome(self) -> tuple[str, int]:
        """The last line and the exit code."""
        before = counted(len(self.before), "alarm") + " before"
        if self.shifted_at is None:
            return f"demo: ended before the shift, {before}", 1
        if self.found_at is None:
            return f"demo: drift not found, {before}", 1
        return f"demo: drift found {self.found_at - self.shifted_at:.1f} s after the shift, {before}", int(
            bool(self.before)
        )


@dataclass(frozen=True, slots=True)
class Place:
    """The demo's own folder; everything it writes, the agent's state too, is in there and goes with it."""

    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        """What the demo's processes get: the agent keeps nothing outside of the folder."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PILOTFISH_", "DEMO_"))}
        return kept | {
            "PILOTFISH_RUNTIME_DIR": str(self.folder / "run"),
            "PILOTFISH_STATE_DIR": str(self.folder / "state"),
        }

    def command(self, *arguments: str | Path) -> list[str]:
        """A command line of the installed `pilotfish`."""
        return [sys.executable, str(Path(sys.prefix) / "bin" / "pilotfish"), *map(str, arguments)]


def prepare(place: Place, seed: int | None) -> tuple[Path, Path]:
    """Trains the model, and builds the reference from draws of the traffic's own pool; (artifact, reference)."""
    artifact, draws, reference = (place.folder / name for name in ("model.joblib", "draws.jsonl", "reference.json"))
    model = classifier.train()
    classifier.save(model, artifact)
    images = Draws(seed).clean(REFERENCE_ROWS)
    with draws.open("w", encoding="utf-8") as file:
        for pixels, answer in zip(images.tolist(), classifier.probabilities(model, images).tolist(), strict=True):
            row = {"features": dict(zip(classifier.PIXELS, pixels, strict=True)), "prediction": answer}
            file.write(json.dumps(row) + "\n")
    command = place.command("reference", "build", draws, "-o", reference, "--config", CONFIG)
    built = subprocess.run(command, env=place.environment, capture_output=True, text=True, check=False)
    if built.returncode:
        raise DemoError(f"reference build: {built.stderr.strip()}")
    draws.unlink()
    return artifact, reference


@contextlib.contextmanager
def serving(place: Place, artifact: Path, reference: Path) -> Iterator[tuple[str, str]]:
    """The model server with the agent beside it; (the server's address, the agent's address)."""
    options = (
        "--config",
        CONFIG,
        "--reference",
        reference,
        "--listen",
        "127.0.0.1:0",
        "--instance",
        "digits",
        "--quiet",
    )
    server = (sys.executable, "-m", "examples.digits.server", artifact, "--port", "0")
    command = place.command("run", *options, "--", *server)
    # A session of its own: Ctrl-C reaches the demo only, which then ends the server, and the agent leaves with it.
    process = subprocess.Popen(
        command, cwd=ROOT, env=place.environment, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield server_address(process), agent_address(place, process)
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
        wait_for_agent_to_leave(place)


def server_address(process: subprocess.Popen[str]) -> str:
    """What the server prints once it listens."""
    line = process.stdout.readline() if process.stdout is not None else ""
    if not line.startswith("serving "):
        raise DemoError(f"the model server did not start (exit {process.poll()})")
    return line.split()[1]


def agent_address(place: Place, process: subprocess.Popen[str]) -> str:
    """What the agent writes once it listens, in its instance's folder."""
    file = place.folder / "run" / "digits" / "address"
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(FileNotFoundError):
            if text := file.read_text(encoding="ascii").strip():
                return f"http://{text}"
        time.sleep(0.05)
    raise DemoError(f"the agent did not start; its log is {place.folder}/state/digits/agent.log:\n{log_tail(place)}")


def log_tail(place: Place) -> str:
    """The end of the agent's log."""
    try:
        return (place.folder / "state" / "digits" / "agent.log").read_text(encoding="utf-8")[-2000:]
    except OSError as error:
        return f"(no log: {error})"


def wait_for_agent_to_leave(place: Place) -> None:
    """The agent goes within a second of its model; its socket goes with it."""
    socket = place.folder / "run" / "digits" / "intake.sock"
    deadline = time.monotonic() + 5
    while socket.exists() and time.monotonic() < deadline:
        time.sleep(0.05)


def get(address: str, path: str) -> Any:
    """JSON of the agent; None when it does not answer now (it may be restarting)."""
    url = urlsplit(address)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return json.loads(response.read()) if response.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def watch(agent: str, traffic: Traffic, story: Story, seconds: float | None, shift_after: float) -> None:
    """Until the time is over: shifts the traffic when it is due, and shows each alarm."""
    shown = 0.0
    while seconds is None or time.monotonic() - traffic.began < seconds:
        time.sleep(POLL_SECONDS)
        items = get(agent, "/api/v1/drift")
        now = time.monotonic()
        show(story, story.take(items if isinstance(items, list) else [], now), now - traffic.began)
        judged = story.judged_at is not None and now - story.judged_at >= JUDGED_BEFORE_SHIFT
        if story.shifted_at is None and judged and now - traffic.began >= shift_after:
            story.shifted_at = time.monotonic()
            traffic.shift()
            say(f"{now - traffic.began:5.0f} s  the traffic shifts now")
        if now - shown >= 10:
            shown = now
            alarms = counted(len(story.before) + len(story.after), "alarm")
            errors = counted(traffic.errors, "error")
            say(f"{now - traffic.began:5.0f} s  {traffic.rows:,} rows, {errors}, {alarms}")


def show(story: Story, fresh: list[dict[str, Any]], at: float) -> None:
    """New alarms, the strongest first; a shift of everything alarms everywhere, and a few say what it is."""
    left = max(0, SHOWN - (len(story.before) + len(story.after) - len(fresh)))
    by_evidence = sorted(fresh, key=lambda item: -item["evidence"])
    for alarm in by_evidence[:left]:
        say(f"{at:5.0f} s  ALARM ({alarm['severity']}) {alarm['explanation']}")
    if hidden := len(fresh) - min(left, len(fresh)):
        say(f"{at:5.0f} s  {counted(hidden, 'more alarm')}, on the page")


def demonstrate(options: argparse.Namespace) -> Story:
    """One demo from start to end; nothing of it stays."""
    story = Story()
    parent = tempfile.gettempdir()
    with tempfile.TemporaryDirectory(
        prefix="pilotfish-demo-", dir=parent if len(parent) <= LONGEST_FOLDER else "/tmp"
    ) as folder:
        place = Place(Path(folder))
        say(f"demo: training the model, building a reference of {REFERENCE_ROWS:,} rows")
        artifact, reference = prepare(place, options.seed)
        with serving(place, artifact, reference) as (server, agent):
            say(f"demo: model on {server}, Pilotfish's page on {agent}/ and metrics on {agent}/metrics")
            say(f"demo: {options.shift} after {options.shift_after:.0f} s of clean traffic; Ctrl-C ends everything")
            traffic = Traffic(server, options.shift, None if options.seed is None else options.seed + 1)
            traffic.start()
            try:
                watch(agent, traffic, story, options.seconds, options.shift_after)
            except KeyboardInterrupt:
                say("")
            finally:
                traffic.stop()
    return story


def parse(arguments: list[str], environment: dict[str, str]) -> argparse.Namespace:
    """The options; flags above the environment."""
    parser = argparse.ArgumentParser(prog="demo", description="A model, traffic, a shift, an alarm.")
    parser.add_argument("--seconds", type=float, default=environment.get("DEMO_SECONDS") or None)
    parser.add_argument("--shift", choices=SHIFTS, default=environment.get("DEMO_SHIFT") or "frozen")
    parser.add_argument("--seed", type=int, default=environment.get("DEMO_SEED") or None)
    parser.add_argument("--shift-after", type=float, help="seconds of clean traffic at least")
    options = parser.parse_args(arguments)
    if options.shift not in SHIFTS:
        parser.error(f"DEMO_SHIFT: got {options.shift!r}; expected one of {', '.join(SHIFTS)}")
    if options.shift_after is None:
        options.shift_after = min(CLEAN_SECONDS, CLEAN_SHARE * (options.seconds or CLEAN_SECONDS / CLEAN_SHARE))
    return options


def main(arguments: list[str]) -> int:
    """The demo; the exit code."""
    options = parse(arguments, dict(os.environ))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: everything is taken down
    signal.signal(signal.SIGHUP, signal.default_int_handler)
    try:
        story = demonstrate(options)
    except DemoError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("demo: stopped before the traffic began")
        return 130
    line, code = story.outcome()
    say(line)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
