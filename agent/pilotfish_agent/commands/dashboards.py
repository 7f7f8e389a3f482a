"""``pilotfish dashboards DIR``: the Grafana dashboards and what Grafana needs to load them, into a folder."""

from __future__ import annotations

import argparse
import importlib.resources
import json
import os
import pathlib
from collections.abc import Iterator
from importlib.resources.abc import Traversable

from pilotfish_core.errors import UnavailableError, UsageError

HELP = "write the Grafana dashboards, and the provisioning that loads them, into a folder"

_FOLDERS = ("dashboards", "provisioning")
PROMETHEUS, EVERY, PATH = "http://prometheus:9090", "15s", "/var/lib/grafana/dashboards"
"""As they stand in the files of provisioning."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Adds the folder and what is filled into the files of provisioning."""
    parser.add_argument("folder", metavar="DIR", help="DIR/dashboards and DIR/provisioning are written")
    parser.add_argument("--prometheus", default=PROMETHEUS, metavar="URL", help=f"where Grafana asks ({PROMETHEUS})")
    parser.add_argument(
        "--scrape-interval", default=EVERY, metavar="TIME", help=f"as in Prometheus, or rates are empty ({EVERY})"
    )
    parser.add_argument(
        "--path", default=PATH, metavar="DIR", help=f"where Grafana itself sees DIR/dashboards ({PATH})"
    )


def run(args: argparse.Namespace) -> int:
    """Writes them and says what is next."""
    root = pathlib.Path(args.folder)
    changed = {PROMETHEUS: args.prometheus, EVERY: args.scrape_interval, PATH: args.path}
    written = 0
    for name in _FOLDERS:
        for parts, text in _files(source() / name, (name,)):
            _write(root.joinpath(*parts), _filled(text, changed) if name == "provisioning" else text)
            written += 1
    print(f"{written} files in {root}")
    print(f"Grafana takes {root}/provisioning as /etc/grafana/provisioning, and the dashboards at {args.path};")
    print(f"or import {root}/dashboards/*.json by hand.")
    return 0


def source() -> Traversable:
    """The folder that holds them: in the package where it is installed, in the repository where it is a checkout.

    Raises:
        UnavailableError: it is in neither.
    """
    package = importlib.resources.files("pilotfish_agent")
    checkout = pathlib.Path(__file__).resolve().parents[3]
    for found in (package / "grafana", checkout / "grafana"):
        if (found / _FOLDERS[0]).is_dir():
            return found
    raise UnavailableError("the dashboards are not in this installation", todo="install the wheel of pilotfish anew")


def _files(folder: Traversable, parts: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], str]]:
    for entry in sorted(folder.iterdir(), key=lambda e: e.name):
        if entry.is_dir():
            yield from _files(entry, (*parts, entry.name))
        elif entry.name.endswith((".json", ".yaml")):
            yield (*parts, entry.name), entry.read_text(encoding="utf-8")


def _filled(text: str, changed: dict[str, str]) -> str:
    # Quoted as JSON, which YAML reads: whatever the value is, it stays one value.
    for usual, wanted in changed.items():
        if wanted != usual:
            text = text.replace(f": {usual}\n", f": {json.dumps(wanted)}\n")
    return text


def _write(path: pathlib.Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.new")  # Grafana reads the folder while we write
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise UsageError(
            f"cannot write the dashboards: {error.strerror}", got=str(path), expected="a folder that can be written"
        ) from None
