"""States between on and off, jobs under way, and saved states, on real guests."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Callable, Iterator, List, Tuple

import pytest

from reconciler.core.machine import Cpus, Disk, Disruption, Interface, Memory, Overlay, Power
from reconciler.core.manifest import Lifecycle, MachineManifest
from reconciler.core.plan import Action, ActionKind, Change, Effect
from reconciler.core.world import DomainView, GuestState
from tests.lab.guest import Guest, boot_overlays
from tests.lab.host import LabHost
from tests.lab.keys import vm
from tests.lab.namespaces import children_of, name_of
from tests.real.booting import LIMIT as BOOT_LIMIT
from tests.real.booting import Bench
from tests.real.looping import Looping, manifest
from tests.real.scenarios import BASE
from tests.real.test_power import DEAF
from tests.real.worlds import GIB, MIB, Product, manifest_of

LIMIT = 180.0  # seconds; only a failure takes that long
FORCE = Lifecycle(shutdown_timeout=5, force_off=True)
RESTART_HARD = Lifecycle(Disruption.RESTART, shutdown_timeout=5, force_off=True)
CARD = replace(DEAF, interfaces=(Interface("lan", "default", model="virtio"),))
PANICS = replace(
    DEAF,
    overlays=(
        Overlay("/domain", "<on_crash>preserve</on_crash>"),
        Overlay("/domain/devices", "<panic model='isa'/>"),
    ),
)
STOPPED = replace(DEAF, power=Power.STOPPED)


def wait(condition: Callable[[], Any], what: str) -> None:
    """Wait until it holds."""
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, f"waited {LIMIT:.0f} s in vain until {what}"
        time.sleep(0.1)


def state(product: Product) -> Tuple[GuestState, str]:
    """Return what the guest does, and why."""
    view = product.host.domains.read_domain("vm")
    return view.state, view.state_reason


def apply(product: Product, manifest: MachineManifest) -> None:
    """Apply without a failure, and find nothing left to change."""
    for outcome in product.apply(manifest):
        assert outcome.error is None, outcome.error
    [action] = product.plan(manifest).actions
    assert action.changes == (), action.changes


def plan(product: Product, manifest: MachineManifest, **options: Any) -> Action:
    """Return what is planned."""
    [action] = product.plan(manifest, **options).actions
    return action


def change(product: Product, manifest: MachineManifest, **options: Any) -> Change:
    """Return the only change that is planned."""
    [found] = plan(product, manifest, **options).changes
    return found


def look(product: Product) -> DomainView:
    """Return the domain, without how far a copy of its disk is."""
    view = product.host.domains.read_domain("vm")
    return replace(view, live_xml=(view.live_xml or "").replace(" ready='yes'", ""))


def leave_alone(product: Product, manifest: MachineManifest) -> str:
    """Apply what is withheld, see that nothing is done, and return why."""
    before = look(product)
    action = plan(product, manifest)
    assert {one.effect for one in action.changes} == {Effect.WITHHELD}
    assert product.apply(manifest) == ()
    assert look(product) == before
    return action.changes[0].reason


def test_a_paused_guest_goes_on_and_then_gives_up_its_card(product: Product, lab: LabHost) -> None:
    apply(product, manifest_of(CARD))
    lab.virsh("suspend", "vm")
    assert state(product) == (GuestState.PAUSED, "user")
    found = change(product, manifest_of(CARD))
    assert (found.observed, found.desired, found.effect) == ("paused", "running", Effect.LIVE)
    assert change(product, manifest_of(CARD), unattended=True).effect is Effect.WITHHELD

    balloon = manifest_of(replace(CARD, power=None, memory=Memory(96 * MIB, 256 * MIB)))
    assert "virsh resume vm" in leave_alone(product, balloon)

    apply(product, manifest_of(CARD))
    assert state(product) == (GuestState.RUNNING, "")


def test_a_paused_guest_is_switched_off_only_hard(product: Product, lab: LabHost) -> None:
    apply(product, manifest_of(DEAF))
    lab.virsh("suspend", "vm")
    reason = leave_alone(product, manifest_of(STOPPED))
    assert reason.startswith(
        "the guest is paused and cannot be asked to shut down: virsh resume vm"
    )
    apply(product, manifest_of(STOPPED, FORCE))
    assert state(product) == (GuestState.OFF, "")


def test_a_paused_guest_is_restarted_where_that_is_allowed(product: Product, lab: LabHost) -> None:
    apply(product, manifest_of(DEAF, RESTART_HARD))
    lab.virsh("suspend", "vm")
    apply(product, manifest_of(replace(DEAF, cpus=Cpus(1, maximum=2)), RESTART_HARD))
    assert state(product) == (GuestState.RUNNING, "")
    assert "<vcpu placement='static' current='1'>2</vcpu>" in product.live_xml("vm")


def test_a_crashed_guest_is_kept_until_its_restart_is_allowed(
    product: Product, lab: LabHost
) -> None:
    apply(product, manifest_of(PANICS))
    lab.virsh("qemu-monitor-command", "vm", "--hmp", "o /b 0x505 1")
    wait(lambda: state(product) == (GuestState.CRASHED, "panicked"), "libvirt hears of the panic")
    assert "virsh destroy vm" in leave_alone(product, manifest_of(PANICS))
    stopped = manifest_of(replace(PANICS, power=Power.STOPPED))
    assert "cannot be asked to shut down: virsh destroy vm" in leave_alone(product, stopped)

    apply(product, manifest_of(PANICS, RESTART_HARD))
    assert state(product) == (GuestState.RUNNING, "")


@pytest.mark.parametrize("paused", [False, True])
def test_a_saved_guest_goes_on_where_it_was(product: Product, lab: LabHost, paused: bool) -> None:
    apply(product, manifest_of(DEAF))
    if paused:
        lab.virsh("suspend", "vm")
    lab.save("vm")
    grown = manifest_of(replace(DEAF, cpus=Cpus(1, maximum=2)))
    assert "virsh start vm" in leave_alone(product, grown)

    found = change(product, manifest_of(DEAF))
    assert (found.observed, found.desired) == ("saved", "running")
    assert "resumed from its saved state" in found.reason
    apply(product, manifest_of(DEAF))
    words = lab.virsh("domstate", "vm", "--reason").stdout
    assert ("running (unpaused)" if paused else "running (restored)") in words


def test_a_saved_guest_is_not_resumed_below_a_snapshot_of_its_disk(
    product: Product, lab: LabHost
) -> None:
    manifest = manifest_of(replace(DEAF, disks=(Disk("root", "virtio", 8 * MIB),)))
    apply(product, manifest)
    lab.save("vm")
    lab.virsh("snapshot-create-as", "vm", "nightly", "--disk-only")
    reason = leave_alone(product, manifest)
    assert "the guest was saved with vda on" in reason
    assert "vm-root.nightly now" in reason
    assert reason.endswith("virsh managedsave-remove vm")
    lab.virsh("managedsave-remove", "vm")
    apply(product, manifest)
    assert state(product)[0] is GuestState.RUNNING
    lab.virsh("snapshot-delete", "vm", "nightly", "--metadata")


def test_a_guest_that_suspended_itself_is_woken_up(bench: Bench, lab: LabHost) -> None:
    sleeps = Overlay("/domain/pm", "<suspend-to-mem enabled='yes'/>")
    wanted = bench.manifest(replace(BASE, overlays=(sleeps,)))
    guest = bench.boot(wanted)
    process = lab.virsh("domid", "guest").stdout
    domains = bench.product.host.domains

    def suspend() -> None:
        lab.virsh("dompmsuspend", "guest", "mem")
        asleep = GuestState.PMSUSPENDED
        bench.wait(lambda: domains.read_domain("guest").state is asleep, "the guest sleeps")

    suspend()
    [found] = bench.change(wanted, wanted).changes
    assert (found.observed, found.desired, found.effect) == ("pmsuspended", "running", Effect.LIVE)
    bench.apply(wanted)
    guest.wait_ready(BOOT_LIMIT)
    assert lab.virsh("domid", "guest").stdout == process

    suspend()
    bench.apply(bench.manifest(replace(BASE, power=Power.STOPPED, overlays=(sleeps,))))
    assert domains.read_domain("guest").state is GuestState.OFF


def test_a_backup_is_named_and_waited_for(product: Product, lab: LabHost, tmp_path: Path) -> None:
    apply(product, manifest_of(DEAF))
    backup = tmp_path / "backup.xml"
    socket = f"/tmp/vr-nbd-{tmp_path.name}"
    backup.write_text(
        f"<domainbackup mode='pull'><server transport='unix' socket='{socket}'/></domainbackup>"
    )
    lab.virsh("backup-begin", "vm", str(backup))
    try:
        grown = manifest_of(replace(DEAF, disks=(Disk("root", "virtio", 2 * GIB),)))
        reason = "a backup of the guest is under way; apply again when it is done"
        assert leave_alone(product, grown) == reason
        assert plan(product, grown).transient
        assert plan(product, manifest_of(DEAF)).action is ActionKind.NONE
    finally:
        lab.virsh("domjobabort", "vm")
    wait(lambda: product.host.domains.find_job("vm") == "", "the backup ends")
    apply(product, grown)


def test_a_block_copy_is_named_with_its_disk(product: Product, lab: LabHost) -> None:
    apply(product, manifest_of(DEAF))
    copy = lab.images / "copy.qcow2"
    lab.virsh("blockcopy", "vm", "vda", str(copy), "--transient-job", "--format", "qcow2")
    try:
        bigger = manifest_of(replace(DEAF, disks=(Disk("root", "virtio", 2 * GIB),)))
        assert leave_alone(product, bigger).startswith("a block copy of disk vda is under way")
    finally:
        lab.virsh("blockjob", "vm", "vda", "--abort")
    wait(lambda: product.host.domains.find_job("vm") == "", "the copy ends")
    apply(product, bigger)


def test_a_step_that_meets_a_job_is_tried_again(product: Product, lab: LabHost) -> None:
    """The copy begins between the plan and its step."""
    apply(product, manifest_of(DEAF))
    copy = lab.images / "copy.qcow2"
    bigger = manifest_of(replace(DEAF, disks=(Disk("root", "virtio", 2 * GIB),)))

    class Late:
        """The host's domains, with somebody else who begins a copy before the disk is grown."""

        def __getattr__(self, name: str) -> Any:
            if name == "resize_block":
                lab.virsh("blockcopy", "vm", "vda", str(copy), "--transient-job")
            return getattr(product.host.domains, name)

    try:
        [outcome] = product.apply(bigger, host=_with_domains(product, Late()))
    finally:
        lab.virsh("blockjob", "vm", "vda", "--abort")
    assert type(outcome.cause).__name__ == "TransientError"
    assert "a block copy of disk vda is under way; apply again" in (outcome.error or "")


def _with_domains(product: Product, domains: Any) -> Any:
    host = product.host

    class Wrapped:
        storage, networks, units, locks = host.storage, host.networks, host.units, host.locks

    Wrapped.domains = domains  # type: ignore[attr-defined]
    return Wrapped()


def test_a_transient_domain_is_named_with_the_command_that_stores_it(
    product: Product, lab: LabHost, tmp_path: Path
) -> None:
    apply(product, manifest_of(DEAF))
    lab.virsh("undefine", "vm")
    action = plan(product, manifest_of(DEAF))
    assert action.action is ActionKind.FAILED
    command = action.reason.rpartition("store one: ")[2]
    virsh = f"virsh -c {shlex.quote(lab.uri())}"
    run_in(tmp_path, command.replace("virsh", virsh))
    assert plan(product, manifest_of(DEAF)).action is ActionKind.NONE


def run_in(folder: Path, command: str) -> None:
    """Run a command as a person would."""
    subprocess.run(["bash", "-c", command], cwd=folder, check=True)


def test_the_daemon_shows_a_pause_by_a_person_and_leaves_it(looping: Looping) -> None:
    looping.publish(manifest())
    looping.wait_ready("vm")
    looping.virsh("suspend", "vm")
    looping.wait(lambda: looping.record("vm").guest == "paused (user)", "the pause is seen")
    assert "virsh resume vm" in looping.record("vm").condition("Ready").reason
    looping.wait_quiet()
    writes = list(looping.writes)
    looping.loop.resync()
    looping.wait_quiet()
    assert looping.writes == writes
    looping.virsh("resume", "vm")
    looping.wait_ready("vm")


def test_the_daemon_goes_on_by_itself_when_a_job_is_over(looping: Looping) -> None:
    looping.publish(manifest(disks=(Disk("root", "virtio", GIB),)))
    looping.wait_ready("vm")
    copy = looping.lab.images / "copy.qcow2"
    looping.virsh("blockcopy", "vm", "vda", str(copy), "--transient-job", "--format", "qcow2")
    grown = manifest(disks=(Disk("root", "virtio", 2 * GIB),))
    looping.publish(grown)
    looping.wait(lambda: "block copy of disk vda under way" in looping.record("vm").guest, "seen")
    assert looping.record("vm").condition("Stalled").holds is False
    looping.virsh("blockjob", "vm", "vda", "--abort")
    looping.wait_ready("vm", grown.generation)
    assert looping.virsh("domblkinfo", "vm", "vda").stdout.split()[1] == str(2 * GIB)


SMALL = 24 * MIB
PATTERN = b"written by the guest\n"
WRITTEN = 12 * MIB


@pytest.fixture
def small_pool(own_host: LabHost) -> Iterator[Path]:
    """Return the folder of a pool `small` that can be full, as it is seen from outside the host."""
    folder, pid = own_host.folder / "small", str(own_host.pid())
    folder.mkdir(exist_ok=True)
    inside = ["nsenter", "-t", pid, "-m"]
    mount = ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", str(folder)]
    subprocess.run([*inside, *mount], check=True)
    own_host.virsh("pool-create-as", "small", "dir", "--target", str(folder))
    yield Path(f"/proc/{pid}/root{folder}")
    own_host.virsh("pool-destroy", "small")


def test_a_guest_whose_pool_is_full_goes_on_when_there_is_space(
    looping: Looping, small_pool: Path
) -> None:
    disk = Disk("root", "virtio", 64 * MIB, pool="small", format="raw")
    wanted = replace(BASE, name="vm", disks=(disk,), overlays=boot_overlays())
    looping.publish(manifest_of(wanted))
    looping.wait_ready("vm")
    guest = Guest(looping.lab.uri(), "vm")
    guest.wait_ready(BOOT_LIMIT)
    filler = small_pool / "filler"
    filler.write_bytes(b"x" * (SMALL - WRITTEN // 2))

    script = f"yes '{PATTERN.decode().strip()}' | head -c {WRITTEN} >/dev/vda; sync"
    guest.ask("guest-exec", path="/bin/sh", arg=["-c", script])
    wait(lambda: looping.record("vm").guest == "paused (I/O error)", "the guest is paused")
    looping.wait(
        lambda: "no space for vda" in looping.record("vm").condition("Ready").reason,
        "it is said why",
    )
    assert looping.record("vm").condition("Stalled").holds is False

    filler.unlink()
    wait(lambda: looping.record("vm").condition("Ready").holds, "the guest goes on")
    guest.exec("sync")
    wait(
        lambda: guest.exec("sh", "-c", "ps | grep -c '[h]ead -c'").strip() == "0", "all is written"
    )
    looping.virsh("destroy", "vm")
    [image] = small_pool.glob("vm-root*")
    found = image.read_bytes()[:WRITTEN]
    assert found == (PATTERN * (WRITTEN // len(PATTERN) + 1))[:WRITTEN]


def test_memory_that_was_saved_to_a_file_keeps_its_disks(
    product: Product, lab: LabHost, tmp_path: Path
) -> None:
    apply(product, manifest_of(DEAF))
    saved = tmp_path / "memory"
    lab.virsh("save", "vm", str(saved))
    found = change(product, manifest_of(DEAF), unattended=True)
    assert found.effect is Effect.WITHHELD
    assert "virsh restore FILE" in found.reason
    lab.virsh("restore", str(saved))
    assert plan(product, manifest_of(DEAF)).action is ActionKind.NONE


class OtherHost(LabHost):
    """A second host: libvirt migrates nothing to a host of the same UUID."""

    def _configure(self) -> None:
        super()._configure()
        with (self.folder / "etc" / "libvirtd.conf").open("a") as file:
            file.write('host_uuid = "b0000000-0000-4000-8000-000000000001"\n')


@contextmanager
def other_host() -> Iterator[LabHost]:
    """Start it, and leave nothing of it."""
    with OtherHost(Path(f"/tmp/vr-other-{os.getpid()}"), kvm=False) as other:
        yield other
    shutil.rmtree(other.folder)


@contextmanager
def paused_guests(host: LabHost) -> Iterator[None]:
    """Stop the emulators of a host for a time, as soon as there is one."""

    def find_emulators() -> List[int]:
        return [pid for pid in children_of(host.first()) if name_of(pid).startswith("qemu-system")]

    wait(find_emulators, "an emulator runs")
    emulators = find_emulators()
    for pid in emulators:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in emulators:
            os.kill(pid, signal.SIGCONT)


def test_the_daemon_makes_nothing_again_that_was_migrated_away(looping: Looping) -> None:
    wanted = manifest(disks=(Disk("root", "virtio", GIB),))
    looping.publish(wanted)
    looping.wait_ready("vm")
    with other_host() as other:
        words = ("--live", "--p2p", "--persistent", "--undefinesource", "--unsafe")
        socket = f"unix:///tmp/vr-migration-{os.getpid()}"
        looping.virsh("migrate", "vm", other.uri(), *words, "--migrateuri", socket)
        away = "placement.host"
        looping.wait(lambda: away in looping.record("vm").condition("Ready").reason, "it is said")
        looping.wait_quiet()
        looping.loop.resync()
        looping.wait_quiet()
        assert looping.virsh("list", "--all", "--name").stdout.split() == []
        assert other.virsh("domstate", "vm").stdout.strip() == "running"
        other.virsh("destroy", "vm")
    looping.loop.retry([vm("vm")])  # a person knows that it runs nowhere
    looping.wait_ready("vm", wanted.generation)
    assert looping.virsh("domstate", "vm").stdout.strip() == "running"


def test_a_migration_is_waited_for_and_its_guest_is_not_started_a_second_time(
    product: Product, lab: LabHost
) -> None:
    apply(product, manifest_of(DEAF))
    smaller = manifest_of(replace(DEAF, memory=Memory(96 * MIB, 256 * MIB)))
    socket = f"/tmp/vr-migration-{os.getpid()}"
    with other_host() as other:
        words = ["virsh", "-q", "-c", lab.uri(), "migrate", "vm", other.uri(), "--live", "--p2p"]
        words += [
            "--persistent",
            "--unsafe",
            "--bandwidth",
            "1",
            "--migrateuri",
            f"unix://{socket}",
        ]
        migration = subprocess.Popen(words)
        wait(lambda: product.host.domains.find_job("vm") == "migration", "the migration runs")
        with paused_guests(other):  # else it may be over before the plan is made
            reason = "a migration of the guest is under way; apply again when it is done"
            assert plan(product, smaller).changes[0].reason == reason
            lab.virsh("migrate-setspeed", "vm", "1000")
        assert migration.wait(LIMIT) == 0
        assert other.virsh("domstate", "vm").stdout.strip() == "running"
        assert "placement.host" in leave_alone(product, manifest_of(DEAF))
