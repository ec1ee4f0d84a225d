"""What a plan needs of the host is asked for before anything is done, with the command that helps."""

from __future__ import annotations

from dataclasses import replace
from typing import FrozenSet, Mapping, Optional, Tuple

import pytest

from reconciler.core.faults import Section
from reconciler.core.images import Images, ImageView
from reconciler.core.machine import (
    Cdrom,
    CloneMode,
    Cpus,
    Disk,
    Disruption,
    Interface,
    Machine,
    Memory,
    Power,
)
from reconciler.core.manifest import Desired, Lifecycle, TemplateManifest
from reconciler.core.plan import Action, ActionKind, Effect, PlanOptions
from reconciler.core.world import (
    DomainView,
    Facilities,
    FileKind,
    FileView,
    GuestState,
    PoolView,
    Unknown,
    VolumeView,
    World,
)
from reconciler.kinds.machine.answers import read
from reconciler.kinds.machine.planner import plan_machine
from reconciler.kinds.machine.status import pending_paths
from tests.unit.domain.samples import Q35
from tests.unit.planning.asking import make_asking
from tests.unit.planning.worlds import GIB, domain, manifest_of, plan

MISSING, FILE = FileView(FileKind.MISSING), FileView(FileKind.FILE, 1)
ON = Machine("vm", power=Power.RUNNING)
DISK = (
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
    "<source file='/i/a.qcow2'/><target dev='vda' bus='virtio'/></disk>"
)
BRIDGED = (
    "<interface type='bridge'><mac address='52:54:00:00:00:01'/><source bridge='br9'/></interface>"
)
BASE = VolumeView("default", "base.qcow2", "/p/base.qcow2", "qcow2", 4 * GIB, allocation=2 * GIB)
POOL = PoolView("default", "dir", "/p", {BASE.name: BASE}, available=GIB)


NOTHING = Facilities()
LOW = ImageView("/i/low.qcow2", is_read=False)
OVER = Images({"/i/a.qcow2": ImageView("/i/a.qcow2", "1:1", "qcow2", LOW.path), LOW.path: LOW})
GONE = Facilities(files={"/i/a.qcow2": FILE, LOW.path: MISSING})


def create(
    machine: Machine,
    facilities: Facilities = NOTHING,
    pool: PoolView = POOL,
    volume: Optional[str] = "base.qcow2",
    image: Optional[str] = None,
) -> Action:
    """Plan a machine that is not there yet, and the template of which is a volume or an image."""
    manifest = manifest_of(replace(machine, cpus=Cpus(1), memory=machine.memory or Memory(GIB)))
    template = TemplateManifest("base", manifest.place, pool="default", volume=volume, image=image)
    world = World(
        "kvm01", "qemu:///system", networks={"default": True}, pools={"default": pool},
        machines={"": Q35}, facilities=facilities,
    )  # fmt: skip
    desired = Desired.of(manifest, template)
    return plan_machine(manifest, desired, world, PlanOptions())


def refused(action: Action) -> Tuple[str, bool]:
    """Return why nothing is done, and whether it may be later."""
    assert action.action is ActionKind.FAILED
    assert action.steps == ()
    return action.reason, action.transient


def test_a_guest_larger_than_the_host_is_not_started() -> None:
    there = Facilities(memory=23 * GIB)
    why = "memory: not enough memory for 512GiB: the host has 23GiB"
    assert refused(create(replace(ON, memory=Memory(512 * GIB)), there)) == (why, True)
    big = domain(memory=str(512 * GIB // 1024))
    assert refused(plan(big, ON, facilities=there)) == (why, True)


def test_a_guest_is_not_started_on_an_image_whose_base_is_gone() -> None:
    reason, transient = refused(plan(domain(DISK), ON, facilities=GONE, images=OVER))
    assert "disks[vda].source: /i/low.qcow2, which lies below /i/a.qcow2, does not exist" in reason
    assert "ln -s NEW /i/low.qcow2" in reason
    assert transient
    raw = domain(DISK.replace("qcow2'/>", "raw'/>", 1))
    assert plan(raw, ON, facilities=GONE, images=OVER).action is ActionKind.UPDATE


def test_an_image_whose_base_is_gone_is_not_grown() -> None:
    bigger = Machine("vm", disks=(Disk("vda", size=2 * GIB),))
    sizes = {"/i/a.qcow2": GIB}
    volume = VolumeView("default", "a.qcow2", "/i/a.qcow2", "qcow2", GIB)
    pools = {"default": replace(POOL, path="/i", volumes={volume.name: volume})}
    action = plan(domain(DISK), bigger, sizes=sizes, facilities=GONE, images=OVER, pools=pools)
    reason, _ = refused(action)
    assert "/i/low.qcow2, which lies below /i/a.qcow2, does not exist" in reason


def test_one_that_is_not_started_now_is_a_note() -> None:
    wanted = Machine("vm", memory=Memory(512 * GIB))
    action = plan(domain(), wanted, facilities=Facilities(memory=23 * GIB))
    assert action.action is ActionKind.UPDATE
    assert action.notes == (
        "it cannot start: memory: not enough memory for 512GiB: the host has 23GiB",
    )


def test_a_bridge_that_is_not_there_keeps_a_guest_from_being_started() -> None:
    there = Facilities(devices=frozenset({"lo", "br0", "eth0"}))
    reason, transient = refused(plan(domain(BRIDGED), ON, facilities=there))
    assert "no bridge 'br9' on this host (near it: br0)" in reason
    assert "ip link add br9 type bridge" in reason
    assert transient


def test_where_the_devices_are_not_known_nothing_is_said_of_bridges() -> None:
    action = plan(domain(BRIDGED), ON, facilities=Facilities(devices=None))
    assert (action.action, action.notes) == (ActionKind.UPDATE, ())


def test_a_running_guest_is_not_plugged_into_a_bridge_that_is_not_there() -> None:
    xml = domain(BRIDGED.replace("br9", "br0"))
    card = Interface("lan", bridge="br9", mac="52:54:00:00:00:01")
    wanted = Machine("vm", interfaces=(card,))
    there = Facilities(devices=frozenset({"br0"}))
    reason, _ = refused(plan(xml, wanted, live=xml, facilities=there))
    assert reason.startswith("interfaces[lan].bridge: no bridge 'br9'")
    [note] = plan(xml, wanted, facilities=there).notes
    assert note.startswith("it cannot start: interfaces[lan].bridge: no bridge 'br9'")


@pytest.mark.parametrize(
    ("networks", "words"),
    [
        ({"default": False}, "network 'default' is not active: virsh net-start default"),
        ({"lab": True}, "no network 'default' on this host; there are: lab"),
    ],
)
def test_a_network_must_be_there_and_active(networks: dict[str, bool], words: str) -> None:
    card = BRIDGED.replace("bridge='br9'", "network='default'").replace("'bridge'", "'network'")
    reason, transient = refused(plan(domain(card), ON, networks=networks))
    assert words in reason
    assert transient


def test_an_image_or_medium_that_is_not_there_is_named() -> None:
    cdrom = (
        "<disk type='file' device='cdrom'><source file='/x.iso'/>"
        "<target dev='sda' bus='sata'/></disk>"
    )
    files = {"/i/a.qcow2": MISSING, "/x.iso": MISSING}
    reason, _ = refused(plan(domain(DISK + cdrom), ON, facilities=Facilities(files=files)))
    assert "disks[vda].source: /i/a.qcow2 does not exist on this host" in reason
    assert "cdroms[sda].media: /x.iso does not exist on this host" in reason


def test_a_medium_that_may_be_absent_keeps_nobody_from_starting() -> None:
    cdrom = (
        "<disk type='file' device='cdrom'><source file='/x.iso' startupPolicy='optional'/>"
        "<target dev='sda' bus='sata'/></disk>"
    )
    action = plan(domain(cdrom), ON, facilities=Facilities(files={"/x.iso": MISSING}))
    assert action.action is ActionKind.UPDATE


def test_a_medium_is_looked_for_before_it_is_put_in() -> None:
    xml = domain("<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>")
    wanted = Machine("vm", cdroms=(Cdrom("sda", media="/x.iso"),))
    there = Facilities(files={"/x.iso": MISSING})
    reason, transient = refused(plan(xml, wanted, live=xml, facilities=there))
    assert (reason.split(";")[0], transient) == (
        "cdroms[sda].media: /x.iso does not exist on this host", True,
    )  # fmt: skip


def test_an_optional_medium_that_a_guest_started_without_is_looked_for_too() -> None:
    policy = FULL.replace("'/x.iso'", "'/x.iso' startupPolicy='optional'")
    wanted = Machine("vm", cdroms=(Cdrom("sda", media="/x.iso"),))
    there = Facilities(files={"/x.iso": MISSING})
    reason, transient = refused(plan(domain(policy), wanted, live=domain(EMPTY), facilities=there))
    assert (reason.split(";")[0], transient) == (
        "cdroms[sda].media: /x.iso does not exist on this host", True,
    )  # fmt: skip


EMPTY = "<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>"
FULL = EMPTY.replace("<target", "<source file='/x.iso'/><target")
ON_USB = Cdrom("sda", bus="usb", target="sda")


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize(
    ("xml", "cdrom"),
    [
        (EMPTY, ON_USB),
        ("", ON_USB),
        (FULL, replace(ON_USB, media="")),
        (FULL.replace("sata", "usb"), replace(ON_USB, media="")),
    ],
    ids=["moved to usb", "new", "moved and emptied", "emptied"],
)
def test_no_drive_on_usb_is_left_empty(xml: str, cdrom: Cdrom, running: bool) -> None:
    there = domain(xml)
    action = plan(there, Machine("vm", cdroms=(cdrom,)), live=there if running else None)
    reason, transient = refused(action)
    assert "a drive on usb cannot be: the guest would not start" in reason
    assert not transient


def test_a_drive_that_moves_to_usb_with_a_medium_or_was_empty_there_is_no_obstacle() -> None:
    action = plan(domain(EMPTY), Machine("vm", cdroms=(replace(ON_USB, media="/x.iso"),)))
    assert action.action is ActionKind.UPDATE
    there = domain(EMPTY.replace("sata", "usb"))
    action = plan(there, Machine("vm", cpus=Cpus(4), cdroms=(ON_USB,)))
    assert action.action is ActionKind.UPDATE


def test_what_else_qemu_opens_at_the_start_must_be_there() -> None:
    xml = domain("<emulator>/usr/bin/qemu-old</emulator>", os="<kernel>/boot/gone</kernel>")
    files = {"/usr/bin/qemu-old": MISSING, "/boot/gone": MISSING}
    reason, _ = refused(plan(xml, ON, facilities=Facilities(files=files)))
    assert "devices/emulator: /usr/bin/qemu-old does not exist on this host" in reason
    assert "os/kernel: /boot/gone does not exist on this host" in reason


def test_a_machine_type_that_the_host_has_no_more_is_for_good() -> None:
    gone = Unknown("machine type 'pc-q35-7.2' is not available on this host; available: pc-q35-9.0")
    reason, transient = refused(plan(domain(), ON, machines={"pc-q35-7.2": gone}))
    assert "available: pc-q35-9.0" in reason
    assert not transient


def test_a_cpu_model_that_the_host_has_no_more_is_named_with_the_nearest() -> None:
    caps = replace(Q35, cpu_models=frozenset({"EPYC-Milan", "EPYC", "Skylake-Server"}))
    xml = domain(more="<cpu mode='custom'><model>EPYC-Milano</model></cpu>")
    reason, _ = refused(plan(xml, ON, machines={"pc-q35-7.2": caps}))
    assert "cpus.model: this host has no CPU EPYC-Milano; near it: EPYC-Milan" in reason


def test_more_processors_than_the_machine_type_has_are_refused_also_while_off() -> None:
    reason, _ = refused(plan(domain(), Machine("vm", cpus=Cpus(500))))
    assert reason == "cpus.maximum: 500 is more than the 288 of pc-q35-7.2"


def cloned(clone: CloneMode, size: Optional[int] = None) -> Machine:
    """Return a machine whose disk is a clone."""
    return Machine("vm", disks=(Disk("root", size=size, template="base", clone=clone),))


def test_a_copy_that_does_not_fit_into_the_pool_is_not_begun() -> None:
    reason, transient = refused(create(cloned(CloneMode.FULL)))
    assert reason == (
        "storage pool 'default': the new volumes take 2GiB at once, and 1GiB are free: "
        "virsh vol-list default --details"
    )
    assert transient
    roomy = replace(POOL, available=100 * GIB)
    assert create(cloned(CloneMode.FULL), pool=roomy).action is ActionKind.CREATE


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"volume": "gone.img"}, "no volume 'gone.img' in storage pool 'default'; see: virsh vol-list default"),
        ({"image": "/p/gone.img"}, "template 'base': no volume 'gone.img' in storage pool 'default'; see: virsh vol-list default"),
        ({"image": "/q/gone.img"}, "template 'base': /q/gone.img is in no active storage pool; define one over its folder (virsh pool-define-as NAME dir --target FOLDER, pool-start NAME)"),
    ],
)  # fmt: skip
def test_a_template_whose_image_is_missing_is_waited_for(
    given: Mapping[str, str], why: str
) -> None:
    wanted = cloned(CloneMode.FULL)
    action = create(wanted, volume=given.get("volume"), image=given.get("image"))
    assert refused(action) == (f"disks[root].source.template: {why}", True)


def test_a_disk_that_may_grow_beyond_the_pool_is_a_note() -> None:
    action = create(Machine("vm", disks=(Disk("root", size=60 * GIB),)))
    assert action.notes == (
        "disks[root]: can grow to 60GiB, and storage pool 'default' has 1GiB free",
    )


def grown(source: str = "/i/a.qcow2", **world: object) -> Action:
    """Grow a disk from 1 to 2 GiB; it is on a pool's volume unless another pool is given."""
    xml = domain(DISK.replace("/i/a.qcow2", source))
    wanted = Machine("vm", disks=(Disk("vda", size=2 * GIB),))
    volume = VolumeView("i", "a.qcow2", "/i/a.qcow2", "qcow2", GIB)
    pools = {"i": PoolView("i", "dir", "/i", {"a.qcow2": volume})}
    return plan(xml, wanted, sizes={source: GIB}, **{"pools": pools, **world})  # type: ignore[arg-type]


def why(action: Action) -> str:
    """Return why the one change is withheld."""
    [change] = (one for one in action.changes if one.path == "disks[vda].size")
    assert change.effect is Effect.WITHHELD
    return change.reason


def test_an_image_outside_of_pools_grows_only_while_its_guest_runs() -> None:
    assert [one.effect for one in grown().changes] == [Effect.OFFLINE]
    reason = why(grown(pools={}))
    assert "start it, or define a pool over its folder: virsh pool-define-as" in reason
    assert "virsh pool-define-as i dir --target /i" in reason
    live = domain(DISK)
    wanted = Machine("vm", disks=(Disk("vda", size=2 * GIB),))
    [change] = plan(live, wanted, live=live, sizes={"/i/a.qcow2": GIB}).changes
    assert change.effect is Effect.LIVE


def test_a_block_device_is_to_be_grown_first() -> None:
    raw = DISK.replace("type='qcow2'", "type='raw'").replace("/i/a.qcow2", "/dev/vg/lv")
    wanted = Machine("vm", disks=(Disk("vda", size=2 * GIB),))

    def grow(there: int, live: bool) -> Action:
        xml = domain(raw)
        files = {"/dev/vg/lv": FileView(FileKind.BLOCK, there)}
        return plan(
            xml, wanted, live=xml if live else None, sizes={"/dev/vg/lv": GIB},
            facilities=Facilities(files=files),
        )  # fmt: skip

    for live in (True, False):
        reason = why(grow(GIB, live))
        assert reason.startswith("the block device /dev/vg/lv has 1GiB: grow the device first")
        assert "lvextend -L 2G /dev/vg/lv" in reason
        assert "pool-define-as" not in reason
    assert [change.effect for change in grow(2 * GIB, live=True).changes] == [Effect.LIVE]


def test_an_old_qcow2_with_snapshots_inside_is_not_grown() -> None:
    old = FileView(FileKind.FILE, 1, qcow2_version=2, snapshots=1)
    reason = why(grown(facilities=Facilities(files={"/i/a.qcow2": old})))
    assert "qemu-img amend -o compat=1.1 /i/a.qcow2" in reason
    new = replace(old, qcow2_version=3)
    there = Facilities(files={"/i/a.qcow2": new})
    assert [change.effect for change in grown(facilities=there).changes] == [Effect.OFFLINE]


def test_a_qcow2_that_its_domain_takes_for_raw_is_not_grown_as_qcow2() -> None:
    raw = domain(DISK.replace("type='qcow2'", "type='raw'"))
    wanted = Machine("vm", disks=(Disk("vda", size=2 * GIB),))
    volume = VolumeView("default", "a.qcow2", "/i/a.qcow2", "qcow2", GIB)
    pools = {"default": PoolView("default", "dir", "/i", {"a.qcow2": volume})}
    action = plan(raw, wanted, sizes={"/i/a.qcow2": GIB}, pools=pools)
    assert "qemu-img info /i/a.qcow2" in why(action)
    live = plan(raw, wanted, live=raw, sizes={"/i/a.qcow2": GIB}, pools=pools)
    assert [change.effect for change in live.changes] == [Effect.LIVE]


def ask(xml: str, machine: Machine) -> FrozenSet[Tuple[Section, str]]:
    """Return what a plan of this domain asks of the host."""
    reading = read(DomainView("vm", "", GuestState.OFF, xml))
    world = World("kvm01", "qemu:///system", {"vm": reading}, machines={"pc-q35-7.2": Q35})
    manifest = manifest_of(machine)
    _, known = make_asking(
        lambda part: plan_machine(manifest, Desired.of(manifest), part, PlanOptions()), world
    )
    return frozenset((one.section, one.name) for one in known)


def test_a_plan_without_a_change_asks_for_nothing_more() -> None:
    wanted = Machine("vm", disks=(Disk("vda", source="/i/a.qcow2"),), cpus=Cpus(2))
    assert ask(domain(DISK + BRIDGED), wanted) == set()
    started = ask(domain(DISK + BRIDGED), replace(wanted, power=Power.RUNNING))
    assert {(Section.MEMORY, ""), (Section.DEVICES, ""), (Section.FILE, "/i/a.qcow2")} <= started
    assert {name for section, name in started if section is Section.FILE} == {"/i/a.qcow2"}


ODD = "<memory unit='KiB'>{}</memory><currentMemory unit='KiB'>{}</currentMemory>"


def test_memory_that_qemu_rounds_up_does_not_wait_for_a_restart() -> None:
    stored = domain(memory="100000")
    live = stored.replace("<memory>100000</memory>", ODD.format(100352, 100352))
    wanted = Machine("vm", memory=Memory(100000 * 1024))
    lifecycle = Lifecycle(Disruption.RESTART)
    assert plan(stored, wanted, lifecycle, live=live).action is ActionKind.NONE
    assert pending_paths(read(DomainView("vm", "6b1b", GuestState.RUNNING, stored, live))) == ()
    smaller = replace(wanted, memory=Memory(99000 * 1024))
    action = plan(stored, smaller, lifecycle, live=live)
    assert "memory.size" in {one.path for one in action.changes}
