"""A plan says all that it does on a real host, and only what can be done there."""

from __future__ import annotations

import re
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Iterator, Tuple

import pytest

from reconciler.adapters.clock import SystemClock
from reconciler.core.machine import (
    Cdrom,
    CloneMode,
    Cpus,
    Disk,
    Disruption,
    Interface,
    Machine,
    Memory,
    Overlay,
    Power,
)
from reconciler.core.manifest import Lifecycle, TemplateManifest
from reconciler.core.plan import Action, ActionKind, Effect
from reconciler.core.xmltree import parse
from reconciler.errors import ReconcilerError
from reconciler.kinds.machine.domain.read import read_machine
from tests.execution import execute
from tests.lab.host import LabHost
from tests.real.images import fill_file_system
from tests.real.offering import Offering
from tests.real.worlds import GIB, MIB, Product, Silent, manifest_of

MINE = frozenset({"vm"})
SMALL = Machine("vm", cpus=Cpus(1), memory=Memory(64 * MIB))
ON = replace(SMALL, power=Power.RUNNING)
DISK = (
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='@IMAGE@'/>"
    "<target dev='vda' bus='virtio'/></disk>"
)
CARD = "<interface type='network'><source network='default'/></interface>"
SPICE = (
    "<graphics type='spice' autoport='yes'/>"
    "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>"
    "<channel type='spiceport'><source channel='org.spice-space.webdav.0'/>"
    "<target type='virtio' name='org.spice-space.webdav.0'/></channel>"
    "<redirdev bus='usb' type='spicevmc'/><smartcard mode='passthrough' type='spicevmc'/>"
    "<video><model type='qxl'/></video>"
)


def define(lab: LabHost, devices: str = "", os: str = "", more: str = "", vcpu: int = 1) -> None:
    """Define a domain as another tool would."""
    xml = (
        "<domain type='qemu'><name>vm</name><memory unit='MiB'>256</memory>"
        f"<vcpu>{vcpu}</vcpu><os><type arch='x86_64' machine='q35'>hvm</type>{os}</os>"
        f"<features><acpi/></features>{more}<devices>{devices}</devices></domain>"
    )
    path = lab.folder / "vm.xml"
    path.write_text(Offering.of(lab).fit(xml), encoding="utf-8")
    lab.virsh("define", str(path))


def make_image(path: Path, *options: str, size: str = "16M") -> str:
    """Make a qcow2."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *options, path, size], check=True)
    return str(path)


def plan_one(product: Product, machine: Machine) -> Action:
    """Return what becomes of the machine."""
    [action] = product.plan(manifest_of(machine), adopt=MINE).actions
    return action


def apply(product: Product, machine: Machine) -> None:
    """Apply, and see that nothing is left to do."""
    for outcome in product.apply(manifest_of(machine), adopt=MINE):
        assert outcome.error is None
    assert product.plan(manifest_of(machine)).is_empty


def changes(action: Action) -> dict[str, Tuple[object, object]]:
    """Return path → both values."""
    return {change.path: (change.observed, change.desired) for change in action.changes}


@pytest.fixture
def image(lab: LabHost) -> Iterator[str]:
    """Return an image in a folder of no pool."""
    folder = lab.folder / "nopool"
    folder.mkdir(exist_ok=True)
    path = make_image(folder / "vm.qcow2")
    yield path
    Path(path).unlink()


def test_a_boot_order_of_kinds_becomes_one_of_devices(
    product: Product, lab: LabHost, image: str
) -> None:
    define(lab, DISK.replace("@IMAGE@", image) + CARD, "<boot dev='network'/><boot dev='hd'/>")
    wanted = replace(SMALL, memory=None, disks=(Disk("vda", boot=1),))
    action = plan_one(product, wanted)
    found = changes(action)
    [card] = (one for one in found if one.startswith("interfaces["))
    assert found["os/boot"] == ("network, hd", "per-device order")
    assert found[card] == (None, 2)
    apply(product, wanted)
    root = parse(product.xml("vm"))
    assert root.find("os/boot") is None
    orders = {
        boot.getparent().tag: boot.get("order")  # type: ignore[union-attr]
        for boot in root.iterfind("devices/*/boot")
    }
    assert orders == {"disk": "1", "interface": "2"}


def test_what_hangs_on_spice_goes_with_it_line_by_line(product: Product, lab: LabHost) -> None:
    define(lab, SPICE)
    before = parse(product.xml("vm"))
    spicy = [
        element
        for element in before.iterfind("devices/*")
        if "spice" in (element.get("type") or "")
    ]
    wanted = replace(SMALL, memory=None, graphics="vnc", video="virtio")
    paths = list(changes(plan_one(product, wanted)))
    others = [path for path in paths if path.startswith("devices/") and "audio" not in path]
    assert len(others) == sum(one.tag not in ("graphics", "audio") for one in spicy)
    apply(product, wanted)
    assert "spice" not in product.xml("vm").split("</metadata>")[1]


def test_a_topology_beside_numa_cells_is_refused_and_nothing_is_changed(
    product: Product, lab: LabHost
) -> None:
    more = (
        "<cpu mode='custom' match='exact'><model>qemu64</model>"
        "<topology sockets='1' dies='1' cores='4' threads='2'/><numa>"
        "<cell id='0' cpus='0-3' memory='128' unit='MiB'/>"
        "<cell id='1' cpus='4-7' memory='128' unit='MiB'/></numa></cpu>"
    )
    define(lab, more=more, vcpu=8)
    before = product.xml("vm")
    wanted = replace(SMALL, memory=None, cpus=Cpus(4, sockets=1, cores=2, threads=2))
    action = plan_one(product, wanted)
    assert action.action is ActionKind.FAILED
    assert "NUMA cells" in action.reason
    assert product.xml("vm") == before
    apply(product, replace(SMALL, memory=None, cpus=Cpus(4)))  # fewer online is another thing
    assert "cores='4'" in product.xml("vm")


def test_tuning_of_processors_that_are_gone_is_a_line(product: Product, lab: LabHost) -> None:
    more = (
        "<cputune><vcpupin vcpu='0' cpuset='0'/><vcpupin vcpu='3' cpuset='0'/>"
        "<vcpusched vcpus='0-3' scheduler='batch'/></cputune>"
    )
    define(lab, more=more, vcpu=4)
    wanted = replace(SMALL, memory=None, cpus=Cpus(2, maximum=2))
    found = changes(plan_one(product, wanted))
    assert found["cputune/vcpupin[3]"] == ("vcpu=3 cpuset=0", None)
    assert found["cputune/vcpusched[3]"] == ("vcpus=3 scheduler=batch", None)
    apply(product, wanted)


def test_a_guest_larger_than_the_host_is_not_begun(product: Product) -> None:
    action = plan_one(product, replace(ON, memory=Memory(4096 * GIB)))
    assert re.fullmatch(
        r"memory: not enough memory for 4TiB: the host has \d+[GM]iB", action.reason
    )
    assert (action.action, action.transient) == (ActionKind.FAILED, True)
    assert product.host.domains.list_domains() == {}


def test_a_bridge_is_missing_until_it_is_made_as_the_message_says(
    product: Product, lab: LabHost
) -> None:
    wanted = replace(ON, interfaces=(Interface("lan", bridge="br9"),))
    action = plan_one(product, wanted)
    assert action.action is ActionKind.FAILED
    command = action.reason.split(": ")[-1]
    inside = ["nsenter", "-t", str(lab.pid()), "-n"]
    try:
        subprocess.run([*inside, "sh", "-c", command], check=True)
        apply(product, wanted)
    finally:
        product.clear()
        subprocess.run([*inside, "ip", "link", "del", "br9"], check=True)


def test_a_medium_is_missing_until_it_is_there(product: Product, lab: LabHost) -> None:
    medium = lab.folder / "late.iso"
    wanted = replace(ON, cdroms=(Cdrom("cd", media=str(medium)),))
    action = plan_one(product, wanted)
    assert action.action is ActionKind.FAILED
    assert f"cdroms[cd].media: {medium} does not exist on this host" in action.reason
    [note] = plan_one(product, replace(wanted, power=None)).notes
    assert note.startswith("it cannot start: cdroms[cd].media")
    medium.write_bytes(b"CD" * 2048)
    apply(product, wanted)


def test_a_full_pool_is_said_before_anything_is_copied(product: Product, lab: LabHost) -> None:
    make_image(lab.images / "base.qcow2", "-o", "preallocation=full", size="64M")
    template = TemplateManifest(
        "base", manifest_of(SMALL).place, pool="default", volume="base.qcow2"
    )
    product = Product(product.host, (template,))
    disk = Disk("root", template="base", clone=CloneMode.FULL, pool="xfs")
    wanted = replace(SMALL, disks=(disk,))
    filler = fill_file_system(lab.folder / "xfs", left=32 * MIB)
    try:
        action = plan_one(product, wanted)
        assert action.action is ActionKind.FAILED
        assert re.search(r"storage pool 'xfs': the new volumes take 6\dMiB at once", action.reason)
    finally:
        filler.unlink()
        lab.virsh("pool-refresh", "xfs")
    assert product.volumes("xfs") == set()
    apply(product, wanted)


def test_an_image_of_no_pool_grows_only_while_its_guest_runs(
    product: Product, lab: LabHost, image: str
) -> None:
    define(lab, DISK.replace("@IMAGE@", image))
    apply(product, replace(SMALL, memory=None))
    grown = replace(SMALL, memory=None, disks=(Disk("vda", size=32 * MIB),))
    [change] = plan_one(product, grown).changes
    assert change.effect is Effect.WITHHELD
    assert "start it, or define a pool over its folder" in change.reason
    lab.virsh("start", "vm")
    apply(product, grown)


def test_an_old_qcow2_with_snapshots_inside_is_amended_first(
    product: Product, lab: LabHost
) -> None:
    path = make_image(lab.images / "old.qcow2", "-o", "compat=0.10")
    subprocess.run(["qemu-img", "snapshot", "-c", "s", path], check=True)
    lab.virsh("pool-refresh", "default")
    define(lab, DISK.replace("@IMAGE@", path))
    apply(product, replace(SMALL, memory=None))
    grown = replace(SMALL, memory=None, disks=(Disk("vda", size=32 * MIB),))
    [change] = plan_one(product, grown).changes
    assert change.effect is Effect.WITHHELD
    with pytest.raises(ReconcilerError):  # it is true
        product.host.storage.resize_volume(path, 32 * MIB)
    command = change.reason.split(": ")[-1]
    subprocess.run(command.split(), check=True)
    apply(product, grown)


def test_a_machine_that_did_not_start_is_there_and_starts_with_the_next_apply(
    product: Product, lab: LabHost
) -> None:
    manifest = manifest_of(replace(ON, disks=(Disk("root", size=16 * MIB),)))
    todo = product.plan(manifest)
    lab.virsh("net-destroy", "default")
    try:
        desired = product.desired([manifest])
        [outcome] = execute(product.host, desired, todo, Silent(), SystemClock())
        assert (outcome.error or "").startswith("defined but not started: ")
        assert outcome.kept == ("definition",)
        [action] = product.plan(manifest).actions
        assert "virsh net-start default" in action.reason
    finally:
        lab.virsh("net-start", "default")
    apply(product, manifest.machine)
    assert read_machine(parse(product.live_xml("vm"))).disks


def test_a_guest_that_cannot_start_again_runs_on_as_it_was(product: Product, lab: LabHost) -> None:
    lifecycle = Lifecycle(Disruption.RESTART, shutdown_timeout=5, force_off=True)
    for outcome in product.apply(manifest_of(ON, lifecycle)):
        assert outcome.error is None
    before = product.xml("vm")
    absent = Overlay("/domain/os", "<kernel>/nowhere/vmlinuz</kernel>")
    [action] = product.plan(manifest_of(replace(ON, overlays=(absent,)), lifecycle)).actions
    assert "os/kernel: /nowhere/vmlinuz does not exist on this host" in action.reason
    kernel = Overlay("/domain/os", "<kernel>/etc/hostname</kernel>")  # there, and no kernel
    [outcome] = product.apply(manifest_of(replace(ON, overlays=(kernel,)), lifecycle))
    assert "everything was put back" in (outcome.error or "")
    assert (outcome.error or "").endswith("; the guest was started again as it was")
    assert product.xml("vm") == before
    assert product.host.domains.read_domain("vm").is_active
