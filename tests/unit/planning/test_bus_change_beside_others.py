"""A staged bus change while other people, programs and manifests do something to the machine."""

from __future__ import annotations

from typing import Callable, Dict, FrozenSet, Optional, Tuple

import pytest

from reconciler.control.prune import plan_deletions
from reconciler.core.frozen import replace
from reconciler.core.history import ChangeCause, ChangeRecord, FormerDomain
from reconciler.core.images import ImageView, SnapshotView
from reconciler.core.machine import Cpus, Disk, Disruption, Machine, MachineOrigin, Memory, Power
from reconciler.core.manifest import BusChange, Desired, MachineManifest
from reconciler.core.plan import Action, ActionKind, PlanOptions
from reconciler.core.world import VolumeView
from reconciler.core.xmltree import Element, parse, serialise
from reconciler.errors import RefusedError
from reconciler.kinds.machine.answers import read
from reconciler.kinds.machine.domain.layout import remove
from reconciler.kinds.machine.observe import observe
from reconciler.kinds.machine.planning.rollback import find_target
from tests.lab.keys import vm
from tests.unit.memory_host import GIB
from tests.unit.planning.walking import HELPER, ROOT, Walk, manifest_on
from tests.unit.planning.worlds import manifest_of

PLACES: Dict[str, Callable[[], Walk]] = {
    "plugged": lambda: Walk().prepare(),
    "proved": lambda: Walk().prove(),
    "switched": lambda: Walk().switch(),
}
RESTART = manifest_on(disruption=Disruption.RESTART)
ABORTS = frozenset({"vm"})


def explain(action: Action) -> str:
    """Return all that a plan says."""
    reasons = (change.reason for change in action.changes)
    return "\n".join((action.reason, action.stalled, *reasons, *action.notes))


def edit(xml: Optional[str], change: Callable[[Element], None]) -> Optional[str]:
    """Return the configuration with each of its disks changed."""
    if xml is None:
        return None
    root = parse(xml)
    for disk in root.findall("devices/disk"):
        change(disk)
    return serialise(root)


def detach(walk: Walk, *, stored: bool, live: bool) -> None:
    """Take the helper disk away, as virsh detach-disk --config and --live do."""

    def drop(disk: Element) -> None:
        if disk.find(f"source[@file='{HELPER}']") is not None:
            remove(disk)

    view = walk.view
    walk.host.change(
        "vm",
        persistent_xml=edit(view.persistent_xml, drop) if stored else view.persistent_xml,
        live_xml=edit(view.live_xml, drop) if live else view.live_xml,
    )


def snapshot(walk: Walk, *, known: bool = True) -> None:
    """Put each disk on an overlay, as an external snapshot does; `known`: with its metadata."""

    def move(disk: Element) -> None:
        source = disk.find("source")
        assert source is not None
        source.set("file", source.get("file", "").replace(".qcow2", ".nightly"))

    view, pool = walk.view, walk.host.pools["default"]
    walk.host.change(
        "vm",
        persistent_xml=edit(view.persistent_xml, move),
        live_xml=edit(view.live_xml, move),
    )
    volumes = dict(pool.volumes)
    for path in (ROOT, HELPER):
        over = path.replace(".qcow2", ".nightly")
        name = over.rpartition("/")[2]
        walk.host.images[path] = ImageView(path, path, "qcow2")
        walk.host.images[over] = ImageView(over, over, "qcow2", path, "qcow2")
        volumes[name] = VolumeView("default", name, over, "qcow2", 2**30, path)
    walk.host.pools["default"] = replace(pool, volumes=volumes)
    if known:
        made = SnapshotView("nightly", 1, {}, (ROOT, HELPER))
        walk.host.snapshot.snapshots["vm"] = (made,)  # type: ignore[index]


DETACHED: Dict[Tuple[str, str, bool], str] = {
    ("plugged", "config", False): "define vm",
    ("plugged", "config", True): "set_metadata vm, create_volume default/HELPER, define vm",
    ("plugged", "live", False): "attach vm",
    ("plugged", "live", True): (
        "set_metadata vm, create_volume default/HELPER, define vm, attach vm"
    ),
    ("plugged", "both", False): "define vm, attach vm",
    ("plugged", "both", True): (
        "set_metadata vm, create_volume default/HELPER, define vm, attach vm"
    ),
    ("proved", "config", False): "define vm",
    ("proved", "live", False): "",
    ("proved", "both", False): "define vm, attach vm",
    ("proved", "both", True): (
        "set_metadata vm, create_volume default/HELPER, define vm, attach vm"
    ),
    ("switched", "config", False): "",
    ("switched", "live", False): "",
    ("switched", "both", True): "",
}


@pytest.mark.parametrize(("place", "where", "has_gone"), DETACHED)
def test_a_helper_disk_that_someone_took_away_comes_back_and_its_volume_is_not_made_twice(
    place: str, where: str, has_gone: bool
) -> None:
    walk = PLACES[place]()
    detach(walk, stored=where != "live", live=where != "config")
    if has_gone:
        walk.host.storage.delete_volume("default", "vm-bus-change.qcow2", HELPER)
    walk.host.writes.clear()
    walk.apply()
    made = ", ".join(walk.host.writes).replace("vm-bus-change.qcow2", "HELPER")
    assert made == DETACHED[place, where, has_gone]
    assert walk.plan().steps == ()
    if place == "switched":
        walk.show_disks()
        walk.apply()
        assert (walk.owner.bus_change, walk.volumes) == (None, ["vm-root.qcow2"])


@pytest.mark.parametrize("manifest", [manifest_on(), RESTART], ids=["whenOff", "restart"])
@pytest.mark.parametrize("is_off", [False, True])
def test_a_disk_on_a_snapshot_is_not_moved(manifest: MachineManifest, is_off: bool) -> None:
    walk = Walk().prove()
    walk.manifest = manifest
    snapshot(walk)
    if is_off:
        walk.turn_off()
    action = walk.plan()
    assert action.steps == ()
    assert "step 3 of 5: the guest has shown its driver at" in explain(action)
    assert "disks[root]: the disk is on external snapshot 'nightly'" in explain(action)
    assert "virsh blockcommit vm sda --active --pivot --wait" in explain(action)


def test_the_proof_is_noted_on_a_snapshot_and_nothing_is_restarted() -> None:
    walk = Walk(RESTART).prepare()
    walk.show_helper()
    snapshot(walk)
    action = walk.apply()
    assert walk.mark.proved
    assert (walk.buses, "shut_down vm" in walk.host.writes) == (("sata",), False)
    assert "the disk is on external snapshot 'nightly'" in explain(action)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("end", ["finished", "given up", "back"])
def test_what_a_snapshot_needs_of_the_helper_disk_stays_and_is_said(end: str, known: bool) -> None:
    walk = Walk().prove() if end == "given up" else Walk().switch()
    snapshot(walk, known=known)
    if end == "back":
        walk.turn_off()
    if end == "finished":
        walk.show_disks()
    action = walk.apply(aborts=frozenset() if end == "finished" else ABORTS)
    assert "/images/vm-bus-change.nightly, which lies over the helper disk" in explain(action)
    kept = "volume default/vm-bus-change.qcow2, which snapshot 'nightly' needs"
    assert (kept in explain(action)) is known
    assert ("vm-bus-change.qcow2" in walk.volumes) is known
    assert "bus-change" not in walk.view.persistent_xml.partition("<devices>")[2]
    sources = parse(walk.view.persistent_xml).iterfind("devices/disk/source")
    assert [source.get("file") for source in sources] == ["/images/vm-root.nightly"]
    assert walk.buses == (("virtio",) if end == "finished" else ("sata",))


@pytest.mark.parametrize("place", PLACES)
def test_a_rollback_is_refused_and_says_how_the_change_is_ended(place: str) -> None:
    walk = PLACES[place]()
    past = ChangeRecord("vm", 1.0, ChangeCause("root", "apply"), "update", number=1)
    with pytest.raises(RefusedError) as caught:
        find_target(past, read(walk.view), {})
    assert str(caught.value) == (
        "a staged bus change of vm to virtio is under way; end it first: "
        "virt-reconciler apply --abort-bus-change vm MANIFESTS"
    )


def rename(walk: Walk) -> None:
    """Rename the domain, as virsh domrename does."""
    view = walk.host.views.pop("vm")
    xml = view.persistent_xml.replace("<name>vm</name>", "<name>web</name>")
    walk.host.views["web"] = replace(view, name="web", persistent_xml=xml)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("adopt", [frozenset(), frozenset({"web"})])
def test_a_machine_that_was_renamed_meanwhile_is_to_be_renamed_back(
    place: str, adopt: FrozenSet[str]
) -> None:
    walk = PLACES[place]()
    walk.turn_off()
    before = walk.volumes
    rename(walk)
    walk.host.writes.clear()
    former = walk.plan()
    assert former.action is ActionKind.FAILED
    assert "Rename it back: virsh domrename web vm" in former.reason
    renamed = walk.plan(manifest_on(name="web"), adopt=adopt)
    assert renamed.action is ActionKind.FAILED
    assert (
        "was renamed before its bus change was over; rename it back (virsh domrename web vm)"
        in (renamed.reason)
    )
    assert (walk.host.writes, walk.volumes) == ([], before)


def gone(walk: Walk, deletion: str) -> Action:
    """Plan the machine's end, its manifest being gone."""
    owner = replace(walk.owner, spec=f'{{"lifecycle": {{"deletion": "{deletion}"}}}}')
    walk.set_owner(owner)
    [action] = plan_deletions(walk.host, [vm("vm")]).actions
    return action


@pytest.mark.parametrize("place", PLACES)
def test_an_orphan_says_what_it_keeps_of_the_change(place: str) -> None:
    action = gone(PLACES[place](), "orphan")
    assert action.steps == ()
    assert "what stays: helper disk default/vm-bus-change.qcow2; to end it, restore the" in (
        explain(action)
    )


@pytest.mark.parametrize("place", PLACES)
def test_a_machine_that_is_deleted_takes_its_helper_disk_with_it(place: str) -> None:
    walk = PLACES[place]()
    action = gone(walk, "undefine")
    assert f"deleted: {HELPER}" in explain(action)
    assert walk.carry_out(action).error is None
    assert (walk.volumes, "vm" in walk.host.views) == (["vm-root.qcow2"], False)


@pytest.mark.parametrize("place", PLACES)
def test_a_clone_of_the_machine_gets_its_disk_and_nothing_of_the_change(place: str) -> None:
    walk = PLACES[place]()
    walk.turn_off()
    origin = MachineOrigin("vm", disk="root")
    disk = Disk("root", "virtio", origin=origin)
    machine = Machine("copy", power=Power.STOPPED, cpus=Cpus(1), memory=Memory(GIB), disks=(disk,))
    desired = Desired.of(manifest_of(machine), walk.manifest)
    plan = observe(walk.host, desired).plan(PlanOptions())
    [action] = [action for action in plan.actions if action.name == "copy"]
    assert (action.action, action.reason) == (ActionKind.CREATE, "")
    assert "bus-change" not in repr(action.steps)


def test_a_copy_of_the_domain_says_that_it_has_a_helper_disk_of_another() -> None:
    walk = Walk().prove()
    xml = walk.view.persistent_xml.replace("<name>vm</name>", "<name>copy</name>")
    other = "6b1ba3f4-5d4a-4f0e-9f5d-0c3a7e1f9a11"
    xml = xml.replace(walk.view.uuid, other).replace(ROOT, "/images/copy-root.qcow2")
    off = replace(walk.view, name="copy", uuid=other, persistent_xml=xml, live_xml=None)
    walk.turn_off()
    walk.host.views["copy"] = replace(off, state=walk.view.state)
    desired = Desired.of(manifest_on("sata", name="copy"), walk.manifest)
    plan = observe(walk.host, desired).plan(PlanOptions(adopt=frozenset({"copy"})))
    [action] = [action for action in plan.actions if action.name == "copy"]
    assert "disk vdb is the helper disk of a bus change of another machine" in explain(action)
    assert "virsh detach-disk copy vdb --config" in explain(action)


@pytest.mark.parametrize("place", PLACES)
def test_a_manifest_that_asks_for_a_third_bus_gets_it_from_the_former_one(place: str) -> None:
    walk = PLACES[place]()
    walk.manifest = manifest_on("scsi", disruption=Disruption.RESTART)
    action = walk.apply()
    assert "the manifest does not ask for it any more" in explain(action)
    assert (walk.buses, walk.volumes, walk.owner.bus_change) == (("sata",), ["vm-root.qcow2"], None)
    walk.apply()
    assert walk.mark.bus == "scsi"
    assert walk.volumes == ["vm-bus-change.qcow2", "vm-root.qcow2"]


@pytest.mark.parametrize("place", PLACES)
def test_a_manifest_that_asks_for_the_former_bus_gets_it(place: str) -> None:
    walk = PLACES[place]()
    walk.manifest = manifest_on("sata", disruption=Disruption.RESTART)
    walk.apply()
    assert (walk.buses, walk.volumes, walk.owner.bus_change) == (("sata",), ["vm-root.qcow2"], None)
    walk.apply()
    assert walk.plan().action is ActionKind.NONE


@pytest.mark.parametrize(
    "changed",
    [
        manifest_on(os="win2k19", disruption=Disruption.RESTART),
        manifest_on(bus_change=BusChange("direct"), disruption=Disruption.RESTART),
        manifest_on(bus_change=BusChange(), os="rocky9", disruption=Disruption.RESTART),
    ],
    ids=["another Windows", "direct", "no Windows any more"],
)
def test_disks_that_were_moved_already_stay_when_os_or_the_way_of_moving_changes(
    changed: MachineManifest,
) -> None:
    walk = Walk().switch()
    walk.manifest = changed
    walk.apply()
    assert walk.buses == ("virtio",)
    assert "step 4 of 5: waits since" in explain(walk.plan())
    walk.show_disks()
    walk.apply()
    assert (walk.buses, walk.volumes) == (("virtio",), ["vm-root.qcow2"])


@pytest.mark.parametrize("place", ["plugged", "proved"])
def test_a_manifest_that_says_direct_before_the_switch_moves_the_disks_at_once(place: str) -> None:
    walk = PLACES[place]()
    walk.manifest = manifest_on(bus_change=BusChange("direct"))
    walk.turn_off()
    for _ in range(2):
        walk.apply()
    assert (walk.buses, walk.volumes, walk.owner.bus_change) == (
        ("virtio",),
        ["vm-root.qcow2"],
        None,
    )


@pytest.mark.parametrize("place", PLACES)
def test_a_rollback_to_the_midst_of_a_change_that_is_over_brings_no_helper_disk(place: str) -> None:
    walk = PLACES[place]()
    view, buses = walk.view, walk.buses
    former = FormerDomain(view.persistent_xml, view.uuid)
    past = ChangeRecord(
        "vm", 1.0, ChangeCause("root", "apply"), "update", (), former=former, number=2
    )
    if place != "switched":
        walk.prove() if place == "plugged" else None
        walk.turn_off()
        walk.apply()
        walk.start()
        walk.apply()
    walk.show_disks()
    walk.apply()
    assert walk.owner.bus_change is None
    target = find_target(past, read(walk.view), {})
    assert "bus-change" not in target.xml.partition("<devices>")[2]
    assert target.owner is not None
    assert target.owner.bus_change is None
    [disk] = target.manifest.machine.disks or ()
    assert (disk.bus,) == buses
