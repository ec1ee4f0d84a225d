"""The alert rules, one row each; scripts/make_monitoring_docs.py writes them.

A test compares every name and label in them with the table of metrics.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Tuple

from reconciler.core.metrics import BY_NAME, PREFIX


@dataclass(frozen=True)
class Alert:
    """One rule. `expression` is PromQL; `summary` one line for the phone, `action` what to do."""

    name: str
    expression: str
    wait: str
    severity: str
    summary: str
    action: str

    @property
    def metrics(self) -> Tuple[str, ...]:
        """The names in the expression, without the prefix and a histogram's endings."""
        found = dict.fromkeys(re.findall(rf"\b{PREFIX}(\w+)", self.expression))
        return tuple(dict.fromkeys(map(_base, found)))


def _base(name: str) -> str:
    cut = re.sub(r"_(bucket|sum|count)$", "", name)
    return cut if cut in BY_NAME else name


CRITICAL, WARNING, INFO = "critical", "warning", "info"

_P = PREFIX

ALERTS = (
    Alert(
        "VirtReconcilerSilent",
        f"time() - {_P}last_success_timestamp_seconds > 1800",
        "5m",
        CRITICAL,
        "No pass has succeeded for half an hour.",
        "The daemon is down, stuck, or cannot reach libvirt: `systemctl status virt-reconciler`, "
        "then `virt-reconciler status`. Raise the limit if `resync` is longer than ten minutes.",
    ),
    Alert(
        "VirtReconcilerAbsent",
        f"absent({_P}queue_depth)",
        "10m",
        CRITICAL,
        "No host sends metrics of virt-reconciler.",
        "The daemon runs nowhere, or nobody collects its metrics: is `spec.metrics` set, and does "
        "the collector read that file or address? For a single host, alert on `up` of its job.",
    ),
    Alert(
        "VirtReconcilerLibvirtLost",
        f"{_P}libvirt_connected == 0",
        "5m",
        CRITICAL,
        "libvirt's {{ $labels.driver }} driver cannot be reached.",
        "Check `systemctl status` of the driver's daemon and its socket. Until it answers, "
        "nothing is concluded or done about what needs it.",
    ),
    Alert(
        "VirtReconcilerLibvirtUnsteady",
        f"increase({_P}libvirt_reconnects_total[1h]) > 5",
        "0m",
        WARNING,
        "The connection to libvirt's {{ $labels.driver }} driver is lost again and again.",
        "The journal of libvirt's daemon says why it ends. A daemon that ends when it is idle and "
        "is started by its socket is right, and does not count.",
    ),
    Alert(
        "VirtReconcilerStalled",
        f"{_P}stalled > 0",
        "10m",
        WARNING,
        "Virtual machines that are stalled: {{ $value }}.",
        "`virt-reconciler status` says which and why. Trying again cannot help: the manifest or "
        "the domain must change.",
    ),
    Alert(
        "VirtReconcilerNotReady",
        f"{_P}virtual_machines - {_P}ready - {_P}suspended > 0",
        "1h",
        WARNING,
        "Virtual machines that are not as their manifests say, for an hour: {{ $value }}.",
        "`virt-reconciler status` says which and why, and when they are tried again.",
    ),
    Alert(
        "VirtReconcilerObjectsStalled",
        f'{_P}objects_stalled{{kind!="VirtualMachine"}} > 0',
        "10m",
        WARNING,
        "Objects of the kind {{ $labels.kind }} that wait for a person: {{ $value }}.",
        "`virt-reconciler status` says which and why. Trying again cannot help: the manifest or "
        "what is on the host has to change.",
    ),
    Alert(
        "VirtReconcilerObjectsNotReady",
        f'{_P}objects{{kind!="VirtualMachine"}} - {_P}objects_ready - {_P}objects_suspended > 0',
        "1h",
        WARNING,
        "Objects of the kind {{ $labels.kind }} that are not as their manifests say, for an hour: "
        "{{ $value }}.",
        "`virt-reconciler status` says which and why, and when they are tried again.",
    ),
    Alert(
        "VirtReconcilerSuspended",
        f"{_P}suspended > 0",
        "1d",
        WARNING,
        "Virtual machines that are suspended, for a day or longer: {{ $value }}.",
        "Someone may have forgotten them: `virt-reconciler status` says who suspended them and "
        "why, `virt-reconciler resume NAME` resumes one.",
    ),
    Alert(
        "VirtReconcilerRestartsPending",
        f"{_P}pending_restarts > 0",
        "7d",
        INFO,
        "Virtual machines that wait for a cold start, for a week or longer: {{ $value }}.",
        "Shut them down and start them when it suits you; `virt-reconciler status` names them and "
        "the fields that wait.",
    ),
    Alert(
        "VirtReconcilerGuestsNotReady",
        f"{_P}guests - {_P}guests_ready > 0",
        "1h",
        INFO,
        "Guests that do not show what their manifests name, for an hour: {{ $value }}.",
        "`virt-reconciler status` says which and why.",
    ),
    Alert(
        "VirtReconcilerGuestsSilent",
        f"{_P}guests_silent > 0",
        "1h",
        INFO,
        "Guests whose agent is not connected or does not answer, for an hour: {{ $value }}.",
        "Look into the guest: `systemctl status qemu-guest-agent`. `virt-reconciler retry NAME` "
        "asks it again.",
    ),
    Alert(
        "VirtReconcilerGuestsSlow",
        f"histogram_quantile(0.5, rate({_P}guest_look_seconds_bucket[30m])) > 3",
        "30m",
        INFO,
        "Half of all looks into guests take longer than three seconds.",
        "Their agents answer slowly or not at all: check the load of the host, and file systems "
        "in the guests that hang. Nothing else waits for them.",
    ),
    Alert(
        "VirtReconcilerStateFailing",
        f"{_P}state_failing == 1",
        "5m",
        WARNING,
        "The daemon cannot write its state folder.",
        "Free space, or mount it read-write; the daemon continues by itself. Until then "
        "`virt-reconciler status --live` shows the current state, and a restart forgets the waits.",
    ),
    Alert(
        "VirtReconcilerConfigurationFailing",
        f"{_P}configuration_failing == 1",
        "15m",
        WARNING,
        "A reload of the configuration was refused; the former one stays in force.",
        "`virt-reconciler config check` reports every error.",
    ),
    Alert(
        "VirtReconcilerSourceFailing",
        f"{_P}source_failing == 1",
        "15m",
        WARNING,
        "Newer manifests cannot be read, or are refused.",
        "The former manifests stay in force. `virt-reconciler status` says why: the remote is "
        "away, a signature is not accepted, the history was rewritten.",
    ),
    Alert(
        "VirtReconcilerSourceUnsteady",
        f"increase({_P}source_errors_total[6h]) > 5",
        "0m",
        INFO,
        "The manifests cannot be read again and again.",
        "It passes by itself and comes back: check the network and the remote.",
    ),
    Alert(
        "VirtReconcilerManifestsInvalid",
        f"{_P}invalid_manifests > 0",
        "5m",
        WARNING,
        "Errors in manifests; their last valid versions stay in force: {{ $value }}.",
        "`virt-reconciler status` names file and line. Nothing is pruned meanwhile. "
        "`virt-reconciler validate` before a commit finds them earlier.",
    ),
    Alert(
        "VirtReconcilerManifestsRestless",
        f"changes({_P}source_changed_timestamp_seconds[1h]) > 20",
        "0m",
        INFO,
        "Other manifests come into force more than twenty times in an hour.",
        "Something writes them again and again. Nothing is pruned until they are unchanged for a "
        "whole resync.",
    ),
    Alert(
        "VirtReconcilerRevisionsDiffer",
        f"count(count by (revision) ({_P}source_info)) > 1",
        "1h",
        INFO,
        "Hosts have been at different revisions of the manifests for an hour.",
        "For hosts that follow the same branch: `virt-reconciler status` on the one that is "
        "behind says why. With several repositories, add the label that tells them apart.",
    ),
    Alert(
        "VirtReconcilerPruneBlocked",
        f"{_P}prune_blocked == 1",
        "5m",
        CRITICAL,
        "More manifests are missing than may be pruned unasked.",
        "If that is a mistake, bring the manifests back; nothing is lost. If it is intended: "
        "`virt-reconciler prune`.",
    ),
    Alert(
        "VirtReconcilerDriftNotRepaired",
        f"sum without (field) (increase({_P}drift_found_total[1h])) - "
        f"sum without (field) (increase({_P}drift_repaired_total[1h]) "
        f"or {_P}drift_found_total * 0) > 0.5",
        "1h",
        WARNING,
        "Someone changes machines by hand, and the changes cannot be undone.",
        "`virt-reconciler status` says which and why.",
    ),
    Alert(
        "VirtReconcilerDriftOften",
        f"increase({_P}drift_repaired_total[1d]) > 10",
        "0m",
        INFO,
        "{{ $labels.field }} was changed back more than ten times in a day.",
        "Another program or a person changes the same field: the journal says when and on which "
        "machine (`journalctl -u virt-reconciler VIRT_RECONCILER_KIND=drift`).",
    ),
    Alert(
        "VirtReconcilerErrors",
        f'increase({_P}errors_total{{kind=~"transient|refused|terminal"}}[1h]) > 20',
        "0m",
        WARNING,
        "More than twenty failures of kind {{ $labels.kind }} in an hour.",
        "`journalctl -u virt-reconciler -p err` says which.",
    ),
    Alert(
        "VirtReconcilerBug",
        f'increase({_P}errors_total{{kind="bug"}}[1h]) > 0',
        "0m",
        WARNING,
        "A fault in virt-reconciler itself.",
        "Please report it with the lines that `journalctl -u virt-reconciler -p err` shows. Other "
        "objects are not affected.",
    ),
    Alert(
        "VirtReconcilerTriesInVain",
        f'rate({_P}passes_total{{result="again"}}[30m]) > 0 '
        f'unless on (instance, job) rate({_P}passes_total{{result="done"}}[30m]) > 0',
        "30m",
        WARNING,
        "For half an hour every pass has ended with another try.",
        "libvirt answers and does nothing, or the disk is full: see `virt-reconciler status`.",
    ),
    Alert(
        "VirtReconcilerHangs",
        f"{_P}longest_running_seconds > 7200",
        "0m",
        WARNING,
        "Work on one virtual machine has taken two hours.",
        "A large copy may take that long. If there is none, a call to libvirt hangs: "
        "`systemctl restart virt-reconciler` continues where it was.",
    ),
    Alert(
        "VirtReconcilerQueueLong",
        f"min_over_time({_P}queue_depth[15m]) > 0",
        "15m",
        WARNING,
        "Virtual machines have been waiting for a pass for half an hour without a break.",
        "All lanes are busy: find out what takes long, or raise `spec.lanes`.",
    ),
    Alert(
        "VirtReconcilerQueueSlow",
        f"histogram_quantile(0.95, rate({_P}queue_wait_seconds_bucket[30m])) > 60",
        "15m",
        INFO,
        "One in twenty changes waits longer than a minute for its pass.",
        "All lanes are busy: find out what takes long, or raise `spec.lanes`.",
    ),
    Alert(
        "VirtReconcilerPassesSlow",
        f"histogram_quantile(0.5, rate({_P}pass_seconds_bucket[30m])) > 5",
        "30m",
        INFO,
        "Half of all passes take longer than five seconds.",
        "libvirt answers slowly: check its load, and storage pools on a network.",
    ),
    Alert(
        "VirtReconcilerWatchBlind",
        f"increase({_P}watch_missed_total[1d]) > 5",
        "0m",
        INFO,
        "Changes of manifests are found late, because nothing reported them.",
        "Nothing is lost. A network file system reports no changes; otherwise "
        "`virt-reconciler status` says how files are watched.",
    ),
)
