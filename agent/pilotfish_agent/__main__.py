"""``python -m pilotfish_agent``; also the agent's entry and those of its capture process and its reader of GPUs.

``python -I .../__main__.py agent HANDOVER``, ``... capture FD`` and ``... nvml FD`` run isolated (-I): the model's
PYTHONPATH and user modules must not replace ours, so the folders in which the launcher found its modules come after the
interpreter's own.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pilotfish_agent.launch.handover import Handover


def main(argv: list[str]) -> int:
    """The exit code; for an agent see launch/handover.py."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    if root not in sys.path:
        sys.path.append(root)
    if len(argv) == 2 and argv[0] in {"agent", "validate"}:
        from pilotfish_agent.launch.handover import Handover

        with open(argv[1], "rb") as file:
            handover = Handover.from_bytes(file.read())
        sys.path += [folder for folder in handover.path if folder not in sys.path]
        return _agent(handover, argv[1]) if argv[0] == "agent" else _validate(handover)
    if len(argv) == 2 and argv[0] == "capture" and argv[1].isdecimal():
        from pilotfish_agent.capture.process import main as capture

        return capture(int(argv[1]))
    if len(argv) == 2 and argv[0] == "nvml" and argv[1].isdecimal():
        from pilotfish_agent.gpu.process import main as nvml

        return nvml(int(argv[1]))
    from pilotfish_agent.cli import main as command

    return command(argv)


def _agent(handover: "Handover", path: str) -> int:
    from pilotfish_agent.launch.handover import CANNOT_RUN, HANDOVER_FD, Heart

    if path == f"/dev/fd/{HANDOVER_FD}":
        os.close(HANDOVER_FD)
    heart = Heart(handover.heartbeat_fd)
    heart.beat()
    _settle()
    try:
        from pilotfish_agent.start import main as start
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("pilotfish"):
            raise
        heart.warn(f'no monitoring: {error.name} is not installed; pip install "pilotfish[agent]"')
        return CANNOT_RUN
    return start(handover)


def _validate(handover: "Handover") -> int:
    """``run --strict``: one line for each thing that `run` would go on without; 2 when there is one."""
    from pilotfish_agent import reload
    from pilotfish_agent.capture import rights
    from pilotfish_agent.launch.options import config_flags
    from pilotfish_agent.launch.values import problems, with_variables

    options = with_variables(handover.options, os.environ)
    origin = reload.Origin(options.get("config"), config_flags(options), options.get("reference"))
    settings = origin.settings()
    found = (*settings.problems, *problems(options), *rights.problems(settings.section("capture")))
    lines = [problem.line() for problem in found] + handover.problems
    unread = [(what, path) for what, path in reload.paths(origin, settings) if not os.access(path, os.R_OK)]
    lines += [f"{what}: got {path!r}; expected a file that can be read" for what, path in unread]
    for line in lines:
        os.write(2, f"pilotfish: {line}\n".encode("utf-8", "replace"))
    return 2 if lines else 0


def _settle() -> None:
    """Gives way to the model: CPU, memory, no core files of ours."""
    import resource

    from pilotfish_agent.launch.proc import introduce

    introduce("pf-agent", 800)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's threads would wait, spinning, on the model's cores
    try:
        os.nice(5)
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    except (OSError, ValueError):
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
