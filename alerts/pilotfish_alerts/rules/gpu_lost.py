"""A GPU has fallen off the bus, or its driver answers no more."""

from pilotfish_alerts.rule import Check, Rule, Scenario, firing

_UP = 'pilotfish_gpu_up{job="pilotfish",instance="a:7374",uuid="GPU-1",gpu="0"}'

RULE = Rule(
    alert="PilotfishGpuLost",
    expr="pilotfish_gpu_up == 0",
    severity="critical",
    hold="2m",  # a driver reload, or a reading process that starts anew, is over by then
    summary="GPU {{ $labels.gpu }} of {{ $labels.instance }} is lost, or its driver does not answer",
    description=(
        "The driver on {{ $labels.instance }} has not answered for GPU {{ $labels.gpu }} ({{ $labels.uuid }}) for 2 "
        "minutes; what runs on it hangs or has failed. pilotfish_gpu_xid_errors_total has the last errors (79: fallen "
        "off the bus). Move the model away, then reset the GPU or reboot the host."
    ),
    scenarios=(
        Scenario(
            # A reload of a minute is no loss.
            {_UP: "1x5 0x1 1x5 0x10 1x10", _UP.replace("GPU-1", "GPU-2").replace('"0"', '"1"'): "1x32"},
            (
                Check("7m"),
                Check("18m", (firing("job=pilotfish instance=a:7374 uuid=GPU-1 gpu=0"),)),
                Check("28m"),
            ),
        ),
    ),
)
