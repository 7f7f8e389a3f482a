"""Energy on the Hardware board, and what a request and 1,000 tokens take of CPU, GPU and energy."""

from __future__ import annotations

from grafana.boards.panels import Panel, ask, course, rows, sheet
from grafana.boards.promql import most, of, rate, recorded, total

_ONE = ("instance", "target")
_NAME = "{{target}} on {{instance}}"
_UNREADABLE = "not readable: docs/energy.md"
_NO_RULES = "no calls, or no rules: pilotfish rules"
_MODEL = "{{target}} {{model}}"


def panels() -> list[Panel]:
    """What is drawn, then what it is spent on."""
    return [*_power(), *_each("request", "a request"), *_each("kilotoken", "1,000 tokens")]


def _power() -> list[Panel]:
    drawn = rate(of("process_energy_joules_total"))
    how = most(of("process_energy_attribution_info"), *_ONE, "source", "method")
    return [
        course(
            "Power of the model and its host",
            "The model's share of the CPU and the GPU, and what RAPL counts of the host: package is the whole "
            "processor, core and dram parts of it or beside it. A rise without more calls: something works for "
            "nothing; compare with CPU cores in use.",
            ask(total(drawn, *_ONE, "source"), _NAME + " {{source}}"),
            ask(total(rate(of("host_energy_joules_total")), "instance", "domain"), "host {{instance}} {{domain}}"),
            unit="watt",
            w=12,
            empty=_UNREADABLE,
        ),
        sheet(
            "How energy is attributed",
            "An estimate, by the method named; docs/energy.md says what each leaves out. A source that is missing is "
            "not in the sum.",
            ("", "short", rows(how)),
            ("Power", "watt", rows(total(drawn, *_ONE, "source"))),
            order=("target", "source", "method", "instance"),
            w=12,
            empty=_UNREADABLE,
        ),
    ]


def _each(record: str, what: str) -> list[Panel]:
    """Of one request, or of 1,000 tokens."""
    return [
        course(
            f"Time of {what}",
            "CPU and GPU seconds over the last 5 minutes. A new version that takes more costs more, whatever its "
            "latency says; idle time of waiting servers counts too.",
            ask(total(recorded(f"{record}:cpu_seconds5m"), "target", "model"), _MODEL + " CPU"),
            ask(total(recorded(f"{record}:gpu_seconds5m"), "target", "model"), _MODEL + " GPU"),
            unit="s",
            w=6,
            empty=_NO_RULES,
        ),
        course(
            f"Energy of {what}",
            "Joules over the last 5 minutes, by the attribution above. It falls with more calls at once: the idle "
            "share is spread over more of them.",
            ask(total(recorded(f"{record}:joules5m"), "target", "model"), _MODEL),
            unit="joule",
            w=6,
            empty=_NO_RULES,
        ),
    ]
