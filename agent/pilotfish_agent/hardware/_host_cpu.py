"""CPU time of the whole machine, from the first line of `/proc/stat` (man 5 proc)."""

from __future__ import annotations

from dataclasses import dataclass

from pilotfish_agent.target.procfs import CLOCK_TICKS


@dataclass(frozen=True, slots=True)
class Cpu:
    """Seconds of all CPUs together, as `/proc/stat` has them.

    Attributes:
        busy: user, nice, system and interrupts; guests are in user and nice already.
        idle: nothing to do.
        iowait: idle, and a task waited for storage; the kernel calls it unreliable, and it may fall.
        steal: ready to run, but the hypervisor ran somebody else.
    """

    busy: float
    idle: float
    iowait: float
    steal: float


def parse_cpu(data: bytes) -> Cpu:
    """The first line of `/proc/stat` (man 5 proc).

    Raises:
        ValueError: it does not begin with the sum over all CPUs, or is cut.
    """
    words = data[: data.find(b"\n") + 1].split()
    if len(words) < 9 or words[0] != b"cpu":
        raise ValueError(f"not /proc/stat: {data[:60]!r}")
    user, nice, system, idle, iowait, irq, softirq, steal = (int(word) / CLOCK_TICKS for word in words[1:9])
    return Cpu(user + nice + system + irq + softirq, idle, iowait, steal)
