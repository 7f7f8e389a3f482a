"""The units of deploy/systemd, laid out as on a machine and asked about by systemd's own tools."""

from __future__ import annotations

import os
import pathlib
import re
import shlex
import shutil
import subprocess

from tests.agent.live import SCRIPT, Live
from tests.deploy.manager import Listener

FOLDER = pathlib.Path(__file__).parents[2] / "deploy" / "systemd"
PROGRAM = "/opt/pilotfish/bin/pilotfish"
MODEL = """[Unit]
Description=A model server
[Service]
ExecStart=/srv/model/bin/serve
User=model
"""
"""A unit that knows nothing of Pilotfish, for the drop-in that puts it under `pilotfish run`."""


def lay_out(root: pathlib.Path, *drop_ins: str) -> None:
    """A root with systemd's own units, ours, the programs they start, and drop-ins for both of our agents' units."""
    shutil.copytree("/usr/lib/systemd/system", root / "usr/lib/systemd/system", symlinks=True)
    units = root / "etc/systemd/system"
    units.mkdir(parents=True)
    for path in FOLDER.glob("*.service"):
        shutil.copy(path, units)
        folder = units / f"{path.name}.d"
        folder.mkdir()
        for name in drop_ins:
            shutil.copy(FOLDER / name, folder)
    (units / "fraud.service").write_text(MODEL)
    (units / "fraud.service.d").mkdir()
    shutil.copy(FOLDER / "model-under-run.conf", units / "fraud.service.d/pilotfish.conf")
    for program in (PROGRAM, "/srv/model/bin/serve", "/bin/kill"):
        path = root / program.lstrip("/")
        path.parent.mkdir(parents=True)
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)


def verify(root: pathlib.Path, unit: str) -> str:
    """What `systemd-analyze verify` prints: it returns 0 whatever it finds."""
    words = ["systemd-analyze", "verify", f"--root={root}", unit]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    return done.stdout + done.stderr + ("" if done.returncode == 0 else f"exit {done.returncode}")


def exposure(root: pathlib.Path, unit: str) -> float:
    """The number of `systemd-analyze security`: 0 is shut, 10 is open."""
    words = ["systemd-analyze", "security", f"--root={root}", "--offline=true", "--no-pager", unit]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    found = re.search(r"Overall exposure level for .*: ([\d.]+)", done.stdout)
    assert found, done.stdout + done.stderr
    return float(found[1])


def service(path: pathlib.Path) -> dict[str, list[str]]:
    """The settings of a unit's or drop-in's [Service], each with its lines in order."""
    section, found = "", dict[str, list[str]]()
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line
        elif "=" in line and not line.startswith("#") and section == "[Service]":
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


class Unit(Live):
    """An agent that is started by the words and the variables of a unit."""

    def start_unit(self, name: str, heard: Listener, **variables: str) -> None:
        """As systemd would, but for the program's path and the group, which this machine may not have."""
        setting = service(FOLDER / name)
        (line,) = setting["ExecStart"]
        words = shlex.split(line.replace("%i", "toy").replace(PROGRAM, SCRIPT))
        words[words.index("pilotfish")] = str(os.getegid())
        half = 2 * 250_000  # WatchdogSec=, but shorter: a sign of life every quarter of a second at most
        told = {"NOTIFY_SOCKET": heard.name, "WATCHDOG_USEC": str(half), "PILOTFISH_LISTEN": "127.0.0.1:0"}
        # WATCHDOG_PID is ours: known only where we are started.
        with open(self.root / "err", "ab") as err:
            self.process = subprocess.Popen(
                ["sh", "-c", 'WATCHDOG_PID=$$ exec "$@"', "sh", *words], env=self.env | told | variables, stderr=err
            )
