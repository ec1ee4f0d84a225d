"""Memories of a daemon, to be shown."""

from __future__ import annotations

from reconciler.core.conditions import Conditions, failed, unknown
from reconciler.core.guest import (
    AddressSource,
    AgentState,
    CloudInitReport,
    CloudInitState,
    FileSystem,
    GuestDisk,
    GuestInterface,
    GuestReport,
    GuestView,
    Unseen,
)
from reconciler.core.overview import Overview, make_entries
from reconciler.core.records import LastChange, Record, SourceRecord, Suspension
from tests.lab.keys import vm

NOW = 1_800_000_000.0
REVISION = "3f2a1b9c0d1e4f5a6b7c8d9e0f1a2b3c4d5e6f70"
FORMER = "a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f70819"
G1, G2 = "0123456789abcdef" * 4, "fedcba9876543210" * 4


def record(name: str, verdict: Conditions, **more: object) -> Record:
    """Return a record of a machine that runs as of the newest manifest."""
    known = {
        "state": "running",
        "generation": G1,
        "observed_generation": G1,
        "revision": REVISION,
        "conditions": verdict.conditions(),
        "last_change": LastChange(NOW - 300, REVISION, "memory.size, disks[data].size"),
        **more,
    }
    return Record(name, **known)  # type: ignore[arg-type]  # by name


NO_SPACE = (
    "no space left in pool default: 12 GiB are needed and 3 GiB are free (virsh pool-info default)"
)
RECORDS = (
    record("web01", Conditions(ready=True)),
    record("web02", Conditions(ready=True, pending=("tpm", "guest_agent"))),
    record(
        "db01",
        failed("no pool 'fast' on this host (virsh pool-list --all)", again=False),
        last_error="no pool 'fast' on this host (virsh pool-list --all)",
        last_change=LastChange(NOW - 90_000, FORMER, "created"),
    ),
    record(
        "build7",
        failed(NO_SPACE, again=True),
        state="off",
        generation=G2,
        observed_generation=G1,
        last_error=NO_SPACE,
        failures=3,
        trying_since=NOW - 720,
        next_try=NOW + 45,
        last_change=None,
    ),
    record("mail", Conditions(ready=True), last_change=LastChange(NOW - 700_000, None, "created")),
    record("old", unknown("orphaned: its manifest is gone; lifecycle.deletion is orphan, so the machine stays")),
    record(
        "win2022-terminal-server",
        Conditions(ready=False, reason="withheld: memory.size: disruption is not allowed"),
        problem="vms/win.yaml:12:9: spec.cpus: is required",
    ),
)  # fmt: skip
SOURCE = SourceRecord(REVISION, REVISION, NOW - 2300, watching="inotify")
SUSPENDED = Suspension("mail", NOW - 260_000, "alice", "waits for the new disk shelf")
TROUBLED_SOURCE = SourceRecord(
    REVISION,
    REVISION,
    NOW - 2300,
    error="cannot fetch ssh://git.example.org/vms.git: Connection timed out",
    refused="commit a0b1c2d3e4f5 has no signature of an allowed signer",
    problems=tuple(f"vms/win.yaml:{line}:9: spec.cpus: is required" for line in range(12, 19)),
    prune_blocked=(
        "2 of 9 owned machines have no manifest any more and would be deleted (a, b), but prune.most allows 1 at"
        " once; nothing is pruned until the manifests are back or a person confirms with `virt-reconciler prune`"
    ),
    prune_held=("a", "b"),
    watching="polling: fs.inotify.max_user_watches is used up",
    libvirt="network: the connection was lost",
    configuration="config.yaml:7:11: spec.lanes: many is not a number (and 1 more)",
    restart_needed=("state", "connect"),
)

ENTRIES = make_entries({one.key: one for one in RECORDS}, {SUSPENDED.key: SUSPENDED})
WELL = Overview(make_entries({one.key: one for one in RECORDS[:1]}, {}), SOURCE, 812, NOW - 300)
MIXED = Overview(ENTRIES, SOURCE, 812, NOW - 30)
TROUBLED = Overview(
    ENTRIES,
    TROUBLED_SOURCE,
    None,
    NOW - 11_000,
    ("/state/objects/x.json: is not JSON and is ignored",),
    "/state: read-only file system",
)
REPORT = GuestReport(
    AgentState.ANSWERS,
    version="9.1.0",
    os="Rocky Linux 9.6 (Blue Onyx)",
    system="rocky",
    host_name="db01.example.com",
    interfaces=(
        GuestInterface("52:54:00:01:02:03", "eth0", ("192.0.2.10/24", "2001:db8::10/64")),
        GuestInterface("52:54:00:01:02:04", "", ("192.0.2.7/24",), AddressSource.LEASE),
        GuestInterface("52:54:00:01:02:05", "eth2"),
    ),
    disks=(
        GuestDisk("/dev/vda", "virtio", "", "0000:05:00.0"),
        GuestDisk("/dev/sda", "scsi", "0QEMU_QEMU_HARDDISK_DATA01", "0000:03:00.0"),
    ),
    file_systems=(
        FileSystem("/", "xfs", "vda4", 58 * 2**30, 2 * 2**30, ("/dev/vda",)),
        FileSystem("/srv", "ext4", "sda1"),
    ),
    cloud_init=CloudInitReport(CloudInitState.FAILED, ("('package_update', no network)",)),
    unseen=(Unseen("host name", "the guest's agent does not allow guest-get-host-name"),),
)
FAILED_GUEST = GuestView(
    ready=False,
    reasons=(
        "cloud-init failed: ('package_update', no network) (in the guest: cloud-init status)",
    ),
    report=REPORT,
)
BOOTING = GuestView(ready=False, reasons=("cloud-init runs",), is_booting=True)
HOSTILE_GUEST = GuestView(
    ready=False,
    reasons=("\x1b[2J",),
    report=GuestReport(
        AgentState.ANSWERS,
        version="\x1b",
        os="\x9b",
        host_name="\r",
        interfaces=(GuestInterface("\x1b", "\x1b", ("\x1b",)),),
        disks=(GuestDisk("\x1b", "\x1b", "\x1b"),),
        file_systems=(FileSystem("\x1b", "\x1b", "\x1b", 0, 1),),
        cloud_init=CloudInitReport(CloudInitState.FAILED, ("\x1b",)),
    ),
)
GUESTS = Overview(
    make_entries(
        {
            vm("db01"): record("db01", Conditions(ready=True), inside=FAILED_GUEST),
            vm("db02"): record("db02", Conditions(ready=True), inside=BOOTING),
        },
        {},
    ),
    SOURCE,
    812,
)
HOSTILE = Overview(
    make_entries(
        {
            vm("a\x1b[2J"): record(
                "a\x1b[2J",
                failed("\x1b]0;x\x07\nnext", again=False),
                state="\x9b",
                inside=HOSTILE_GUEST,
            )
        },
        {vm("b\n"): Suspension("b\n", 0.0, "\x1b[31m", "\rwhy")},
    ),
    SourceRecord("\x1b[1m", "\x1b", NOW, "e\x1b", problems=("p\x1b",), watching="polling: \x1b"),
    0,
    None,
    ("\x1b",),
)
