"""``pilotfish post-mortem``: for ``ExecStopPost=`` of a unit that starts its model by `pilotfish run`."""

from __future__ import annotations

import argparse
import os

from pilotfish_agent.launch import places, postmortem
from pilotfish_core.errors import UnavailableError, UsageError

HELP = "records how a unit's model ended, from what systemd tells ExecStopPost="


def configure(parser: argparse.ArgumentParser) -> None:
    """The two that `run` has too."""
    parser.add_argument("--instance", metavar="NAME", help="as given to `pilotfish run`")
    parser.add_argument("--state-dir", metavar="D", help="as given to `pilotfish run`")


def run(args: argparse.Namespace) -> int:
    """Writes `last_exit.json` in the instance's state folder."""

    def get(name: str) -> str:
        return os.environ.get(name, "")

    found = postmortem.told(os.environ)
    if found is None:
        raise UsageError(
            "post-mortem: $EXIT_CODE",
            got=get("EXIT_CODE") or None,
            expected="exited, killed or dumped, as systemd sets it",
            todo="run it by ExecStopPost= of the model's unit",
        )
    instance = args.instance or get("PILOTFISH_MODEL_NAME")
    if not instance:
        raise UsageError("post-mortem: no instance", expected="--instance NAME, as given to `pilotfish run`")
    bases = places.state_bases(get, args.state_dir or "")
    folder = postmortem.state_folder(instance, bases)
    if folder is None:
        where = ", ".join(dict.fromkeys(bases))
        raise UnavailableError(f"post-mortem: no state of instance {instance} in {where}", todo="see --state-dir")
    locks = [f"{base}/{places.safe_name(instance)}/lock" for base in places.runtime_bases(get)]
    lock = next((path for path in locks if os.path.exists(path)), "")
    try:
        postmortem.write(folder, lock, *found)
    except OSError as error:
        raise UnavailableError(f"post-mortem: {folder}: {error.strerror}", todo="run it as the model's user") from None
    return 0
