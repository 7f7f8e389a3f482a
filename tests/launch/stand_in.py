"""A small agent for these tests. STAND_IN chooses how it behaves; the handover says where everything is."""

import os
import select
import signal
import sys
import time

from pilotfish_agent.launch.handover import CANNOT_RUN, Handover, Heart
from pilotfish_agent.launch.proc import introduce


def main() -> int:
    """Beats until the model ends, unless told to misbehave."""
    introduce("stand-in", 800)
    manner = os.environ.get("STAND_IN", "")
    with open(sys.argv[1], "rb") as file:
        handover = Handover.from_bytes(file.read())
    with open(f"{handover.state_dir}/agents", "a", encoding="ascii") as file:
        file.write(f"{os.getpid()} {handover.restarts}\n")
    signal.signal(signal.SIGTERM, lambda *_: None)  # the loop below sees the model's end
    heart = Heart(handover.heartbeat_fd)
    if manner == "crash":
        return 1
    if manner == "cannot":
        heart.warn("no monitoring: the stand-in cannot run")
        return CANNOT_RUN
    if manner == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if manner == "worker" and os.fork() == 0:
        time.sleep(60)
    heart.warn("one warning")
    heart.ready(f"watching PID {handover.model_pid} ({handover.target}), log {handover.log_file}")
    with open(handover.address_file, "w", encoding="ascii") as file:
        file.write("127.0.0.1:1\n")
    while manner in {"deaf", "hang"} or not select.select([handover.model_pidfd], [], [], 0.2)[0]:
        if manner == "hang":
            time.sleep(60)
        time.sleep(0.05)
        heart.beat()
    if manner == "oom":
        heart.ended("oom")
    with open(f"{handover.state_dir}/flushed", "w", encoding="ascii") as file:
        file.write("yes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
