"""``make docs-reference``: writes docs/reference/ from the declarations of the parts; nobody edits those by hand."""

from __future__ import annotations

import json
import pathlib

from pilotfish_agent import catalogue
from pilotfish_core.config import FreeSection, ListSection

FOLDER = pathlib.Path(__file__).parent / "reference"
MADE = "<!-- Made by `make docs-reference` from the parts' own declarations; edits are lost. -->\n"


def pages() -> dict[str, str]:
    """File name -> content."""
    return {
        "config.md": config_page(),
        "config.schema.json": json.dumps(catalogue.schema(), indent=2) + "\n",
        "pilotfish.example.yaml": catalogue.example(),
        "metrics.md": metrics_page(),
        "events.md": events_page(),
    }


def config_page() -> str:
    """Every section and key."""
    lines = [
        "# Configuration",
        "",
        MADE,
        "`--config F`, else `$PILOTFISH_CONFIG`, else `/etc/pilotfish/pilotfish.yaml`; never the working directory.",
        "Flags beat the environment, which beats the file, which beats the defaults. A key is the variable",
        "`PILOTFISH_<SECTION>_<KEY>`. `pilotfish config check` names everything that is wrong, `config show` what",
        "is in force and where it comes from, `config example` prints a file to start from.",
        "[Schema](config.schema.json) for editors, [example](pilotfish.example.yaml).",
        "",
        "Durations are written as in Prometheus (`500ms`, `10s`, `1h30m`, `30d`), sizes in SI or IEC units (`1GB`,",
        "`160MiB`), budgets as `N per DURATION`. YAML is read as version 1.2 reads it: only `true` and `false` are",
        "booleans, `version: 1.10` stays as written. Aliases, anchors and tags are refused, and so is more than 1 MiB.",
        "",
    ]
    for name, section in catalogue.sections().items():
        lines += [f"## `{name}`", "", catalogue.summary(section), ""]
        if isinstance(section, FreeSection):
            lines += ["```yaml", f"{name}:", *(f"  {line}" for line in section.example), "```", ""]
            continue
        if isinstance(section, ListSection):
            lines += ["```yaml", f"{name}:", *(f"  {line}" for line in section.example), "```", ""]
            lines += [f"At most {section.most} entries; they have no variables. Keys of an entry:", ""]
        lines += ["| key | default | example | |", "| --- | --- | --- | --- |"]
        for key, option, default in catalogue.declared(section):
            words = catalogue.words(default, option)
            shown = f"`{words}`" if words not in {"", "[]", "{}"} else "none"
            lines.append(f"| `{key}` | {shown} | `{option.example}` | {_cell(option.help)} |")
        lines.append("")
    return "\n".join(lines)


def metrics_page() -> str:
    """Every metric."""
    lines = ["# Metrics", "", MADE, "| metric | type | labels | |", "| --- | --- | --- | --- |"]
    for metric in catalogue.metrics():
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {_cell(metric.help)} |")
    return "\n".join(lines) + "\n"


def events_page() -> str:
    """Every internal event: the `event` label of pilotfish_events_total, `kind` in the agent's log."""
    lines = [
        "# Events",
        "",
        MADE,
        "One event is one line of the agent's log (`kind`) and one count of `pilotfish_events_total` (label `event`).",
        "",
        "| event | level | |",
        "| --- | --- | --- |",
    ]
    lines += [f"| `{event.name}` | {event.level} | {_cell(event.text)} |" for event in catalogue.events()]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    """Writes all of them."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in pages().items():
        (FOLDER / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
