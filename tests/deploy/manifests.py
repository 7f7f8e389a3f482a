"""deploy/kubernetes as kubectl renders it, and what three judges say of it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jsonschema
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
SCHEMAS = Path(__file__).with_name("schemas")
BIN = Path(sys.executable).parent
ROOTS = ("overlays/cpu", "overlays/shared-process-namespace", "overlays/nvidia", "monitoring")
CRDS = {"PodMonitor": "podmonitor.json", "PrometheusRule": "prometheusrule.json"}

Manifest = dict[str, Any]


def render(folder: Path) -> list[Manifest]:
    """What `kubectl kustomize` makes of a folder.

    Raises:
        RuntimeError: it refuses; its words.
    """
    done = subprocess.run((BIN / "kubectl", "kustomize", folder), capture_output=True, text=True, timeout=60)
    if done.returncode or done.stderr:
        raise RuntimeError(f"kubectl kustomize {folder}: {done.stderr.strip()}")
    return list(yaml.safe_load_all(done.stdout))


def one(manifests: list[Manifest], kind: str) -> Manifest:
    """The only one of a kind."""
    (found,) = (m for m in manifests if m["kind"] == kind)
    return found


def problems(manifests: list[Manifest]) -> list[str]:
    """What kubernetes-validate says of Kubernetes' own kinds, and the operator's schemas of the others."""
    own = [m for m in manifests if m["kind"] not in CRDS]
    found = validated(own) if own else []
    for manifest in manifests:
        if manifest["kind"] in CRDS:
            found += [f"{manifest['kind']} {e}" for e in by_schema(manifest)]
    return found


def validated(manifests: list[Manifest]) -> list[str]:
    """`kubernetes-validate --strict`: unknown fields are refused; a warning (an unknown kind) is a problem too."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump_all(manifests, file)
        file.flush()
        command = (BIN / "kubernetes-validate", "--strict", file.name)
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    said = (done.stdout + done.stderr).splitlines()
    passed = [line for line in said if " passed for resource " in line]
    wrong = [line for line in said if line not in passed]
    if done.returncode == 0 and len(passed) == len(manifests):
        return wrong
    return wrong or [f"kubernetes-validate: exit {done.returncode}, {len(passed)} of {len(manifests)} passed"]


def by_schema(manifest: Manifest) -> list[str]:
    """The schema of a custom resource; the API server drops what it does not know, so we refuse it."""
    schema = closed(json.loads((SCHEMAS / CRDS[manifest["kind"]]).read_text(encoding="utf-8")))
    schema["properties"]["metadata"] = {"type": "object"}
    return [f"{e.json_path}: {e.message}" for e in jsonschema.Draft7Validator(schema).iter_errors(manifest)]


def closed(schema: Any) -> Any:
    """Objects with named properties take no others."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    parts = {key: closed(part) for key, part in schema.items()}
    if isinstance(parts.get("properties"), dict) and parts.get("type") == "object":
        parts.setdefault("additionalProperties", False)
    return parts


def promtool(rule: Manifest) -> tuple[int, str]:
    """(exit code, words) of `promtool check rules` on the spec of a PrometheusRule."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(rule["spec"], file)
        file.flush()
        command = ("promtool", "check", "rules", "--lint=all", "--lint-fatal", file.name)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout + done.stderr
