"""``run --strict``: asks the agent's own loader before the model starts, off the usual path."""

import os

from pilotfish_agent.launch.handover import HANDOVER_FD
from pilotfish_agent.launch.launcher import Environ, Job


def check(job: Job, environ: Environ) -> int:
    """0 when all is good; else the problems stand on stderr, one line each, and this is the exit code.

    A process of its own: what the loader imports shall not be in ours when it becomes the model.
    """
    note = os.memfd_create("pilotfish-handover", os.MFD_CLOEXEC)
    try:
        os.pwrite(note, job.handover(), 0)
        actions = [(os.POSIX_SPAWN_DUP2, note, HANDOVER_FD)]
        command = [*job.agent[:-1], "validate", f"/dev/fd/{HANDOVER_FD}"]
        pid = os.posix_spawn(command[0], command, environ, file_actions=actions)  # type: ignore[arg-type]
    finally:
        os.close(note)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
