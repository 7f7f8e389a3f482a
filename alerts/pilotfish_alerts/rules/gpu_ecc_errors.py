"""Memory of a GPU has had errors that its ECC could not correct."""

from pilotfish_alerts.rule import Check, Rule, Scenario, firing

_ECC = 'pilotfish_gpu_ecc_errors_total{job="pilotfish",instance="a:7374",uuid="GPU-1",gpu="0",kind='

RULE = Rule(
    alert="PilotfishGpuEccErrors",
    expr='increase(pilotfish_gpu_ecc_errors_total{kind="uncorrected"}[1h]) > 0',
    severity="warning",
    summary="GPU {{ $labels.gpu }} of {{ $labels.instance }} has had uncorrected memory errors",
    description=(
        "GPU {{ $labels.gpu }} ({{ $labels.uuid }}) on {{ $labels.instance }} has had memory errors within "
        "an hour that ECC could not correct. The program that was hit has failed: restart the model, "
        "reset the GPU when it is idle so that bad rows are remapped, and have it replaced if they come back."
    ),
    scenarios=(
        Scenario(
            {
                # It stood at 3 when the agent came: that is old.
                _ECC + '"uncorrected"}': "3x60 4x120",
                _ECC + '"corrected"}': "0+1x180",
            },
            (
                Check("50m"),
                Check("90m", (firing("job=pilotfish instance=a:7374 uuid=GPU-1 gpu=0 kind=uncorrected"),)),
                Check("150m"),
            ),
        ),
    ),
)
