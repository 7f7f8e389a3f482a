"""A frozen `/sys/class/powercap`: zones whose counters are set."""

from __future__ import annotations

from pathlib import Path

RANGE = 262_143_328_850
"""`max_energy_range_uj` of a counter of 32 bits in steps of 61 microjoules."""


class PowerCap:
    """RAPL zones below a folder that stands for `/sys`.

    Args:
        sys: the folder.
        zones: name of the zone's folder -> name of its domain.
    """

    def __init__(self, sys: Path, **zones: str) -> None:
        self._folder = sys / "class" / "powercap"
        self._values: dict[str, int] = {}
        for name, domain in (zones or {"0": "package-0"}).items():
            zone = self._folder / f"intel-rapl:{name.replace('_', ':')}"
            zone.mkdir(parents=True)
            (zone / "name").write_text(f"{domain}\n")
            (zone / "max_energy_range_uj").write_text(f"{RANGE}\n")
            self.set(name, 0)

    def file(self, zone: str) -> Path:
        """Its counter."""
        return self._folder / f"intel-rapl:{zone.replace('_', ':')}" / "energy_uj"

    def set(self, zone: str, microjoules: int) -> None:
        """Writes the counter in place, as a kept descriptor sees it."""
        self._values[zone] = microjoules
        self.file(zone).write_text(f"{microjoules}\n")

    def use(self, zone: str, joules: float) -> None:
        """The zone takes energy; its counter wraps as a real one."""
        self.set(zone, (self._values[zone] + round(joules * 1e6)) % (RANGE + 1))
