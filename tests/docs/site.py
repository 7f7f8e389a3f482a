"""The site as mkdocs builds it, with what it complained about."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from pilotfish_alerts import generate
from tests.docs.fences import ROOT


def build(folder: Path) -> list[str]:
    """Builds into ``folder``; every line that mkdocs says of its own, which is none when all is well."""
    words = (sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder))
    # The theme's notice about the future of mkdocs is no warning of ours; it has a switch of its own.
    environ = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=100)
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines or ([] if done.returncode == 0 else [f"exit {done.returncode}"])


def missing_runbooks(folder: Path) -> list[str]:
    """Alerts whose runbook_url leads nowhere in the built site."""
    page = (folder / "alerts" / "index.html").read_text(encoding="utf-8")
    anchors = set(re.findall(r'id="([^"]+)"', page))
    return [rule.alert for rule in generate.rules() if rule.alert.lower() not in anchors]
