"""The Kubernetes manifests: valid by three judges, and what the sidecar promises a pod."""

from __future__ import annotations

import copy
import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from pilotfish_agent import config
from pilotfish_alerts import generate
from tests.deploy import manifests
from tests.deploy.manifests import FOLDER, ROOT, ROOTS, Manifest, one
from tests.system import needs

THEIRS = """
apiVersion: apps/v1
kind: {kind}
metadata: {{name: ranker, labels: {{pilotfish: sidecar}}}}
spec:
  selector: {{matchLabels: {{app: ranker}}}}
  template:
    metadata: {{labels: {{app: ranker}}}}
    spec:
      containers: [{{name: model, image: ranker, env: [{{name: A, value: b}}]}}, {{name: proxy, image: proxy}}]
"""


@functools.cache
def rendered(name: str) -> list[Manifest]:
    return manifests.render(FOLDER / name)


def pod(found: list[Manifest], kind: str = "Deployment") -> Any:
    return one(found, kind)["spec"]["template"]["spec"]


def named(containers: list[Manifest], name: str) -> Manifest:
    (found,) = (c for c in containers if c["name"] == name)
    return found


def sidecar(name: str) -> Manifest:
    return named(pod(rendered(name))["initContainers"], "pilotfish")


def beside(folder: Path, *components: str, kind: str = "Deployment") -> list[Manifest]:
    """A user's own kustomization."""
    (folder / "theirs.yaml").write_text(THEIRS.format(kind=kind))
    (folder / "pilotfish.yaml").write_text("target: {port: 9000}\n")
    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "resources": ["theirs.yaml"],
                "components": [relative(FOLDER / c, folder) for c in components],
                "configMapGenerator": [{"name": "pilotfish-config", "files": ["pilotfish.yaml"]}],
            }
        )
    )
    return manifests.render(folder)


def relative(path: Path, start: Path) -> str:
    """Kustomize takes no absolute path."""
    return "/".join([".."] * (len(start.resolve().parts) - 1)) + str(path)


@pytest.mark.parametrize("name", ROOTS)
def test_the_manifests_are_valid(name: str) -> None:
    """kubectl renders them offline; every field is one that Kubernetes, or the operator's schema, knows."""
    assert manifests.problems(rendered(name)) == []


def test_a_field_that_does_not_exist_is_found() -> None:
    """In a Deployment and in a PodMonitor: the judges above judge."""
    wrong = copy.deepcopy(rendered("overlays/cpu"))
    named(pod(wrong)["initContainers"], "pilotfish")["restartpolicy"] = "Always"
    assert any("restartpolicy" in p for p in manifests.problems(wrong))
    monitor = copy.deepcopy(one(rendered("monitoring"), "PodMonitor"))
    monitor["spec"]["podMetricsEndpoints"][0]["ports"] = "pilotfish"
    assert any("'ports' was unexpected" in p for p in manifests.problems([monitor]))


def test_the_sidecar_is_a_native_one_that_cannot_hold_the_model_back() -> None:
    """An init container that is restarted, without a probe that the pod's readiness or start would wait for."""
    for name in ROOTS[:3]:
        ours = sidecar(name)
        assert ours["restartPolicy"] == "Always"
        assert "livenessProbe" in ours
        assert not {"readinessProbe", "startupProbe"} & set(ours)
        assert "lifecycle" not in ours, "a postStart hook would hold back the model"


def test_the_sidecar_is_bounded_and_has_no_right() -> None:
    """Requests equal limits; not root, nothing to write but emptyDirs, no capability, the runtime's seccomp profile."""
    for name in ROOTS[:3]:
        ours, spec = sidecar(name), pod(rendered(name))
        assert ours["resources"]["requests"] == ours["resources"]["limits"]
        assert set(ours["resources"]["limits"]) == {"cpu", "memory"}
        safe = ours["securityContext"]
        assert (safe["runAsNonRoot"], safe["runAsUser"], safe["readOnlyRootFilesystem"]) == (True, 65532, True)
        assert (safe["allowPrivilegeEscalation"], safe["capabilities"]) == (False, {"drop": ["ALL"]})
        assert safe["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["enableServiceLinks"] is False
        volumes = {v["name"]: v for v in spec["volumes"]}
        for mount in ours["volumeMounts"]:
            assert mount.get("readOnly") or "sizeLimit" in volumes[mount["name"]]["emptyDir"]


def test_the_model_stays_guaranteed() -> None:
    """Every container of the sample's pod has equal requests and limits: so the pod has that quality of service."""
    spec = pod(rendered("overlays/nvidia"))
    for container in (*spec["containers"], *spec["initContainers"]):
        assert container["resources"]["requests"] == container["resources"]["limits"], container["name"]
    assert named(spec["containers"], "model")["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_the_reference_is_there_before_the_sidecar_asks_for_it() -> None:
    """In the sample `prepare` is first; what it writes is mounted where the command line looks."""
    spec = pod(rendered("overlays/cpu"))
    assert [c["name"] for c in spec["initContainers"]] == ["prepare", "pilotfish"]
    words = sidecar("overlays/cpu")["args"]
    assert set(general_arguments()) < set(words)
    assert "--reference=/srv/digits/reference.json" in words
    assert "/srv/digits" in [m["mountPath"] for m in sidecar("overlays/cpu")["volumeMounts"]]


def general_arguments() -> list[str]:
    document = yaml.safe_load((FOLDER / "sidecar" / "sidecar.yaml").read_text(encoding="utf-8"))
    found: list[str] = document["spec"]["template"]["spec"]["initContainers"][0]["args"]
    return found


def test_the_command_line_and_the_variables_are_understood() -> None:
    """Each flag of `attach` is one; each variable is a setting; the sample's file is one."""
    command = (sys.executable, ROOT / "bin" / "pilotfish", "attach", "--help")
    known = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    flags = [word.partition("=")[0] for word in sidecar("overlays/cpu")["args"] if word.startswith("--")]
    assert [flag for flag in flags if flag not in known] == []
    given = {e["name"]: "x" for e in sidecar("overlays/nvidia")["env"]}
    settings = config.load(str(FOLDER / "overlays" / "cpu" / "pilotfish.yaml"), given, {})
    assert (settings.problems, settings.warnings) == ((), ())
    assert settings.section("labels") == {"node": "x"}


def test_the_samples_configuration_is_that_of_the_compose_stack() -> None:
    """Kustomize reads nothing above its folder, so there are two; they are equal."""
    both = [ROOT / "deploy" / "compose" / "pilotfish.yaml", FOLDER / "overlays" / "cpu" / "pilotfish.yaml"]
    assert both[0].read_text(encoding="utf-8") == both[1].read_text(encoding="utf-8")


def test_the_overlays_add_what_they_say() -> None:
    """Shared processes where asked for; the GPU's driver for the sidecar, but no GPU."""
    assert "shareProcessNamespace" not in pod(rendered("overlays/cpu"))
    for name in ROOTS[1:3]:
        assert pod(rendered(name))["shareProcessNamespace"] is True
    assert "runtimeClassName" not in pod(rendered(ROOTS[1]))
    assert pod(rendered("overlays/nvidia"))["runtimeClassName"] == "nvidia"
    variables = {e["name"]: e.get("value") for e in sidecar("overlays/nvidia")["env"]}
    assert variables["NVIDIA_DRIVER_CAPABILITIES"] == "utility"


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_it_goes_beside_a_model_of_ones_own(tmp_path: Path, kind: str) -> None:
    """Two components: nothing of the workload is lost, its socket is where the sidecar's agent puts it."""
    found = beside(tmp_path, "sidecar", "sdk", kind=kind)
    spec = pod(found, kind)
    assert [c["name"] for c in spec["containers"]] == ["model", "proxy"]
    model, ours = named(spec["containers"], "model"), named(spec["initContainers"], "pilotfish")
    variables = {e["name"]: e.get("value") for e in model["env"]}
    own = {e["name"]: e.get("value") for e in ours["env"]}
    assert variables == {"A": "b", "PILOTFISH_SOCKET": f"{own['PILOTFISH_RUNTIME_DIR']}/model/intake.sock"}
    assert "--instance=model" in ours["args"]
    assert one(found, kind)["spec"]["template"]["metadata"]["labels"] == {"app": "ranker", "pilotfish": "sidecar"}
    volumes = {v["name"]: v for v in spec["volumes"]}
    assert volumes["pilotfish-config"]["configMap"]["name"] == one(found, "ConfigMap")["metadata"]["name"]


def test_the_tap_adds_one_capability(tmp_path: Path) -> None:
    """NET_RAW, as root, and still nothing else."""
    spec = pod(beside(tmp_path, "sidecar", "tap"))
    safe = named(spec["initContainers"], "pilotfish")["securityContext"]
    assert (safe["runAsUser"], safe["capabilities"]) == (0, {"drop": ["ALL"], "add": ["NET_RAW"]})
    assert (safe["allowPrivilegeEscalation"], safe["readOnlyRootFilesystem"]) == (False, True)
    assert named(spec["containers"], "model") == {
        "name": "model",
        "image": "ranker",
        "env": [{"name": "A", "value": "b"}],
    }


def test_a_workload_without_the_label_is_left_alone(tmp_path: Path) -> None:
    """The label asks for it."""
    (tmp_path / "own").mkdir()
    found = beside(tmp_path / "own", "sidecar")
    assert len(found) == 2
    text = THEIRS.replace("labels: {{pilotfish: sidecar}}", "labels: {{other: sidecar}}")
    (tmp_path / "own" / "theirs.yaml").write_text(text.format(kind="Deployment"))
    assert one(manifests.render(tmp_path / "own"), "Deployment") == yaml.safe_load(text.format(kind="Deployment"))


def test_the_podmonitor_finds_the_sidecar() -> None:
    """By label and by the port's name; the job is the one that the rules ask for."""
    spec = one(rendered("monitoring"), "PodMonitor")["spec"]
    labels = one(rendered("overlays/cpu"), "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"].items() <= labels.items()
    (endpoint,) = spec["podMetricsEndpoints"]
    assert endpoint["port"] in [p["name"] for p in sidecar("overlays/cpu")["ports"]]
    jobs = [r["replacement"] for r in endpoint["relabelings"] if r["targetLabel"] == "job"]
    assert jobs == [s.default for rule in generate.rules() for s in rule.settings if s.name == "job"][:1]


def test_the_prometheusrule_is_that_of_this_version() -> None:
    """`pilotfish rules --format kubernetes` gives what is committed."""
    command = (sys.executable, ROOT / "bin" / "pilotfish", "rules", "--format", "kubernetes")
    again = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    committed = (FOLDER / "monitoring" / "prometheusrule.yaml").read_text(encoding="utf-8")
    assert committed == again, "pilotfish rules --format kubernetes > deploy/kubernetes/monitoring/prometheusrule.yaml"


@needs("promtool", package="prometheus")
def test_promtool_takes_the_prometheusrule() -> None:
    """As kubectl renders it."""
    code, words = manifests.promtool(one(rendered("monitoring"), "PrometheusRule"))
    assert code == 0, words


def test_every_dashboard_is_a_config_map_that_grafana_loads() -> None:
    """The label that Grafana's loader looks for; small enough for one object, and for `kubectl apply`."""
    files = {f.name: f.read_text(encoding="utf-8") for f in (ROOT / "grafana" / "dashboards").glob("*.json")}
    found = [m for m in rendered("monitoring") if m["kind"] == "ConfigMap"]
    assert {name: text for m in found for name, text in m["data"].items()} == files
    for manifest in found:
        assert manifest["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert manifest["metadata"]["annotations"]["grafana_folder"] == "Pilotfish"
        assert len(yaml.safe_dump(manifest)) < 262_144, "the annotation of a client-side apply holds no more"
