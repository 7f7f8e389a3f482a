"""The driver reported an error of the GPU or of what it hangs on, not of a program."""

from pilotfish_alerts.rule import Check, Rule, Scenario, firing

_XID = 'pilotfish_gpu_xid_errors_total{job="pilotfish",instance="a:7374",uuid="GPU-1",gpu="0",xid='
_FIRES = firing("job=pilotfish instance=a:7374 uuid=GPU-1 gpu=0 xid=94")
# Errors of programs, after which the GPU is sound: NVIDIA's own list (k8s-device-plugin, health checks).
_HARDWARE = '{xid!~"13|31|43|45|68|109"}'

RULE = Rule(
    alert="PilotfishGpuXid",
    # A counter that starts at 1 has not increased: the first error of a code counts by itself.
    expr=(
        f"increase(pilotfish_gpu_xid_errors_total{_HARDWARE}[15m]) > 0\n"
        f"or (pilotfish_gpu_xid_errors_total{_HARDWARE} unless pilotfish_gpu_xid_errors_total offset 15m)\n"
    ),
    severity="warning",
    summary="GPU {{ $labels.gpu }} of {{ $labels.instance }} reports XID {{ $labels.xid }}",
    description=(
        "The driver on {{ $labels.instance }} has reported XID {{ $labels.xid }} of GPU {{ $labels.gpu }} "
        "({{ $labels.uuid }}) within 15 minutes. 48, 95: uncorrected memory error, 94: contained to one program: "
        "restart the model, reset the GPU. 63, 64: a memory row is (64: could not be) remapped: reset when idle. "
        "74: NVLink. 79: fallen off the bus. If it comes back after a reset, have the GPU replaced."
    ),
    scenarios=(
        Scenario(
            {
                _XID + '"94"}': "_x5 1x40",  # the first one ever
                _XID + '"31"}': "0x5 1+1x40",  # a bug of the model's
            },
            (Check("4m"), Check("10m", (_FIRES,)), Check("40m")),
        ),
        Scenario(
            {_XID + '"94"}': "1x20 2x40"},  # and the next one
            (Check("18m"), Check("25m", (_FIRES,)), Check("50m")),
        ),
    ),
)
