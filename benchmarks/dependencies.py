"""``python -m benchmarks.dependencies``: what each dependency of the agent weighs, as printed in docs/dependencies.md.

Each is imported alone in a fresh interpreter: CPU time and growth of the resident set, median of 7.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
from importlib.metadata import version

IMPORTS = {
    "aiohttp": "aiohttp.web",
    "brotli": "brotli",
    "msgspec": "msgspec",
    "numpy": "numpy",
    "nvidia-ml-py": "pynvml",
    "prometheus-client": "prometheus_client",
    "pyyaml": "yaml",
    "scipy": "scipy.special",
    "structlog": "structlog",
    "uvloop": "uvloop",
    "zstandard": "zstandard",
}
"""Distribution -> what we import of it."""

ROUNDS = 7
PROBE = """
import sys, time
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
before, start = resident(), time.process_time()
__import__(sys.argv[1])
print(time.process_time() - start, resident() - before)
"""


def weigh(module: str) -> tuple[float, float]:
    """(milliseconds, MiB) of importing ``module``."""
    runs = []
    for _ in range(ROUNDS):
        done = subprocess.run((sys.executable, "-I", "-c", PROBE, module), capture_output=True, text=True, check=True)
        runs.append([float(x) for x in done.stdout.split()])
    return statistics.median(r[0] for r in runs) * 1e3, statistics.median(r[1] for r in runs) / 2**20


def main() -> None:
    """Prints the table."""
    print("| distribution | imported | version | import CPU | resident |\n| --- | --- | --- | --- | --- |")
    for name, module in IMPORTS.items():
        milliseconds, mebibytes = weigh(module)
        print(f"| {name} | `{module}` | {version(name)} | {milliseconds:.0f} ms | {mebibytes:.1f} MiB |")


if __name__ == "__main__":
    main()
