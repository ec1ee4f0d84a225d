"""Which names are one image, what lies below it, and what a plan makes of it. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Mapping, Optional, Tuple

import pytest

from reconciler.core.images import (
    Images,
    ImageUse,
    ImageView,
    SnapshotView,
    normalise,
    resolve_backing,
)
from reconciler.core.machine import Cdrom, Machine
from reconciler.core.manifest import Desired, MachineManifest, Place
from reconciler.core.names import Owner
from reconciler.core.plan import (
    Action,
    ActionKind,
    BlockResize,
    Define,
    Effect,
    PlanOptions,
    ResizeVolume,
)
from reconciler.core.world import DomainView, GuestState, PoolView, Unknown, VolumeView, World
from reconciler.errors import TerminalError
from reconciler.kinds.machine.answers import read
from reconciler.kinds.machine.document import build_machine
from reconciler.kinds.machine.domain.mark import set_owner
from reconciler.kinds.machine.planner import plan_machine
from reconciler.kinds.machine.planning.differences import settle_media
from reconciler.kinds.machine.planning.images import describe_dependants, read_uses
from reconciler.kinds.machine.planning.sources import resolve_disk
from tests.unit.domain.samples import Q35

BASE, TOP, OTHER = "/images/base.qcow2", "/images/base.nightly", "/images/other.qcow2"
HARD = "/linked/hard.qcow2"
VIEWS = {
    BASE: ImageView(BASE, "1:1", "qcow2", changed_at=1000),
    TOP: ImageView(TOP, "1:2", "qcow2", BASE, "qcow2", changed_at=2000),
    OTHER: ImageView(OTHER, "1:3", "qcow2", changed_at=500),
    "/linked/base.qcow2": ImageView("/linked/base.qcow2", "1:1", "qcow2", changed_at=1000),
}
MARK = Owner("vm", "g0", "{}")
EMPTY = (
    "<domain type='kvm'><name>vm</name><uuid>6b1ba3f4-5d4a-4f0e-9f5d-0c3a7e1f9a11</uuid>"
    f"<memory unit='GiB'>1</memory><vcpu>1</vcpu><os><type arch='x86_64' machine='{Q35.machine}'>"
    "hvm</type></os><devices/></domain>"
)
VOLUMES = {
    path.rpartition("/")[2]: VolumeView("default", path.rpartition("/")[2], path, "qcow2", 2**30)
    for path in (BASE, TOP, OTHER)
}


def manifest(source: str, name: str = "vm", **disk: Any) -> MachineManifest:
    disks = [{"name": "vda", "source": {"path": source}, **disk}]
    data = {"metadata": {"name": name}, "spec": {"cpus": 1, "memory": "1GiB", "disks": disks}}
    return build_machine(data, Place("vm.yaml", 7, 1))


def domain(source: str, mark: Optional[MachineManifest], name: str = "vm") -> DomainView:
    xml = (
        f"<domain type='kvm'><name>{name}</name><uuid>6b1ba3f4-5d4a-4f0e-9f5d-0c3a7e1f9a10</uuid>"
        "<memory unit='GiB'>1</memory><vcpu>1</vcpu>"
        f"<os><type arch='x86_64' machine='{Q35.machine}'>hvm</type></os><devices>"
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{source}'/>"
        "<target dev='vda' bus='virtio'/></disk></devices></domain>"
    )
    if mark is not None:
        xml = set_owner(xml, Owner(mark.name, mark.generation, mark.spec))
    return DomainView(name, "6b1b", GuestState.OFF, xml, disk_sizes={HARD: 2**30})


def plan(
    wanted: MachineManifest,
    source: str,
    mark: Optional[MachineManifest],
    views: Mapping[str, ImageView] = VIEWS,
    snapshots: Tuple[SnapshotView, ...] = (),
    live: str = "",
    options: Optional[PlanOptions] = None,
) -> Action:
    """Return what becomes of a machine whose disk is on `source`, marked by a manifest."""
    view = domain(source, mark)
    if live:
        view = replace(view, state=GuestState.RUNNING, live_xml=live)
    reading = read(view)
    world = World(
        "kvm01",
        "qemu:///system",
        domains={"vm": reading},
        pools={"default": PoolView("default", "dir", "/images", VOLUMES)},
        machines={Q35.machine: Q35},
    )
    images = Images(views, read_uses(reading, world), {"vm": snapshots})
    world = replace(world, images=images)
    options = options or PlanOptions(adopt_all=mark is None)
    return plan_machine(wanted, Desired.of(wanted), world, options)


def source_reason(action: Action) -> str:
    [change] = [one for one in action.changes if one.path == "disks[vda].source"]
    assert change.effect is Effect.WITHHELD
    assert not any(isinstance(step, Define) for step in action.steps)
    return change.reason


def test_a_disk_whose_chain_holds_the_named_image_is_that_disk() -> None:
    snapshot = SnapshotView("nightly", 1_800_000_000, {"vda": TOP})
    action = plan(manifest(BASE), TOP, manifest(BASE), snapshots=(snapshot,))
    assert action.action is ActionKind.NONE
    assert action.notes == (
        "disks[vda] is on external snapshot 'nightly' since 2027-01-15 08:00 UTC "
        f"({TOP} over {BASE})",
    )


def test_a_snapshot_without_a_record_is_named_by_its_file() -> None:
    [note] = plan(manifest(BASE), TOP, manifest(BASE)).notes
    assert "external snapshot 'nightly' since 1970-01-01 00:16 UTC" in note


@pytest.mark.parametrize(
    "name", ["/linked/base.qcow2", "/images//base.qcow2", "/images/../images/base.qcow2"]
)
def test_another_name_of_the_image_is_no_change(name: str) -> None:
    views = {**VIEWS, name: ImageView(name, "1:1")}
    assert plan(manifest(name), BASE, manifest(name), views).action is ActionKind.NONE


def test_nothing_goes_back_to_what_a_job_left() -> None:
    reason = source_reason(plan(manifest(TOP), BASE, manifest(TOP)))
    assert "a block commit, pull or copy moved it" in reason
    assert (
        "set disks[vda].source to {volume: base.qcow2, pool: default} (vm.yaml, line 7)" in reason
    )
    assert "copy moved it" in source_reason(plan(manifest(BASE), OTHER, manifest(BASE)))


def test_a_manifest_that_names_another_image_moves_the_disk() -> None:
    action = plan(manifest(OTHER), BASE, manifest(BASE))
    assert action.action is ActionKind.UPDATE
    assert f"disks[vda]: {BASE} stays, and nothing of it is copied" in action.notes


RAW_IMAGE = VolumeView("default", "other.img", "/images/other.img", "raw", 2**29)


@pytest.fixture
def raw(monkeypatch: pytest.MonkeyPatch) -> MachineManifest:
    """Return the manifest that names a raw image of half a gibibyte."""
    monkeypatch.setitem(VOLUMES, RAW_IMAGE.name, RAW_IMAGE)
    monkeypatch.setitem(VIEWS, RAW_IMAGE.path, ImageView(RAW_IMAGE.path, "9:9"))
    return manifest(RAW_IMAGE.path)


def test_another_image_brings_its_format(raw: MachineManifest) -> None:
    action = plan(raw, BASE, manifest(BASE))
    [change] = [one for one in action.changes if one.path == "disks[vda].format"]
    assert (change.observed, change.desired, change.effect) == ("qcow2", "raw", Effect.OFFLINE)
    [step] = [one for one in action.steps if isinstance(one, Define)]
    assert "type='raw'" in step.xml.replace('"', "'")


def test_the_image_that_a_disk_gets_is_grown_and_not_the_one_it_leaves(
    raw: MachineManifest,
) -> None:
    bigger = manifest(RAW_IMAGE.path, size="1GiB")
    live = domain(BASE, manifest(BASE)).persistent_xml
    for running, effect in (("", Effect.OFFLINE), (live, Effect.NEXT_BOOT)):
        action = plan(bigger, BASE, manifest(BASE), live=running)
        [change] = [one for one in action.changes if one.path == "disks[vda].size"]
        assert (change.observed, change.desired, change.effect) == (2**29, 2**30, effect)
        grown = [one for one in action.steps if isinstance(one, (ResizeVolume, BlockResize))]
        assert grown == [ResizeVolume("vda", RAW_IMAGE.path, 2**30)]


def test_an_image_with_another_name_is_grown_by_the_one_that_its_pool_knows() -> None:
    views = {**VIEWS, HARD: replace(VIEWS[OTHER], path=HARD)}
    action = plan(manifest(HARD, size="2GiB"), HARD, manifest(HARD), views)
    [grown] = [one for one in action.steps if isinstance(one, ResizeVolume)]
    assert grown == ResizeVolume("vda", OTHER, 2**31)


def test_an_image_is_not_taken_without_its_format(raw: MachineManifest) -> None:
    left = PlanOptions(left={"disks[vda].format": "someone changes it back"})
    action = plan(raw, BASE, manifest(BASE), options=left)
    assert "someone changes it back" in source_reason(action)


def test_the_format_of_an_image_outside_all_pools_has_to_be_set() -> None:
    path = "/elsewhere/disk.img"
    views = {**VIEWS, path: ImageView(path, "8:8")}
    action = plan(manifest(path), BASE, manifest(BASE), views)
    assert "disks[vda].format: set qcow2 or raw" in action.reason


def test_a_dead_overlay_is_never_gone_back_to_although_asked() -> None:
    stale = {**VIEWS, BASE: replace(VIEWS[BASE], changed_at=3000)}
    reason = source_reason(plan(manifest(TOP), BASE, manifest(BASE), stale))
    assert "it is older than the image that the guest uses" in reason
    fresh = plan(manifest(TOP), BASE, manifest(BASE))
    assert fresh.action is ActionKind.UPDATE  # a new overlay, made to be used


def test_an_image_below_that_is_gone_is_named() -> None:
    views = {OTHER: VIEWS[OTHER], TOP: VIEWS[TOP], BASE: ImageView(BASE, is_read=False)}
    reason = source_reason(plan(manifest(OTHER), TOP, manifest(BASE), views))
    assert f"{BASE}, which lies below {TOP}, is missing" in reason
    assert f"ln -s {OTHER} {BASE}" in reason


def test_a_disk_on_a_missing_overlay_is_not_to_be_kept_by_naming_that() -> None:
    views = {BASE: VIEWS[BASE], TOP: ImageView(TOP, is_read=False)}
    reason = source_reason(plan(manifest(BASE), TOP, manifest(BASE), views))
    assert f"{TOP}, which the disk is on, is missing" in reason
    assert "To keep the disk" not in reason


def test_no_disk_is_moved_to_an_image_that_is_not_there() -> None:
    views = {BASE: VIEWS[BASE], OTHER: ImageView(OTHER, is_read=False)}
    reason = source_reason(plan(manifest(OTHER), BASE, manifest(BASE), views))
    assert f"{OTHER} is missing, and the disk is on {BASE}" in reason
    assert "set disks[vda].source to {volume: base.qcow2, pool: default}" in reason


def test_another_name_of_a_medium_is_no_change() -> None:
    drive = Cdrom("tools", media="/iso/link.iso")
    views = {name: ImageView(name, "2:1") for name in ("/iso/link.iso", "/iso/tools.iso")}
    world = World("kvm01", "qemu:///system", images=Images(views))
    stored = Machine("vm", cdroms=(replace(drive, media="/iso/tools.iso"),))
    assert settle_media(Machine("vm", cdroms=(drive,)), stored, None, world) == stored
    other = Machine("vm", cdroms=(replace(drive, media="/iso/other.iso"),))
    assert settle_media(other, stored, stored, world) == other


def test_a_qcow2_image_is_never_given_to_a_guest_as_raw() -> None:
    wanted = manifest(OTHER, format="raw")
    pools = {"default": PoolView("default", "dir", "/images", VOLUMES)}
    world = World("kvm01", "qemu:///system", pools=pools, images=Images(VIEWS))
    [disk] = wanted.machine.disks or ()
    with pytest.raises(TerminalError, match=r"other\.qcow2 is qcow2, and a guest that uses it"):
        resolve_disk(disk, wanted, Desired.of(wanted), world, None)


def test_what_lies_over_an_image_is_said_with_who_uses_it_or_how_it_is_deleted() -> None:
    pools = {"default": PoolView("default", "dir", "/images", VOLUMES)}
    uses = (ImageUse("other", "vda", OTHER),)
    world = World("kvm01", "qemu:///system", pools=pools, images=Images(VIEWS, uses))
    assert describe_dependants(world, (TOP, OTHER)) == (
        f"{OTHER} (of domain other); {TOP}, which no domain uses: if it is left from a merged snapshot, delete it "
        "(virsh vol-delete base.nightly default), else keep it"
    )
    assert "delete it (rm '/srv/a b')" in describe_dependants(world, ("/srv/a b",))


def test_an_image_that_is_gone_is_said_to_be_gone() -> None:
    views = {OTHER: VIEWS[OTHER], BASE: ImageView(BASE, is_read=False)}
    reason = source_reason(plan(manifest(OTHER), BASE, manifest(BASE), views))
    assert f"{BASE} is missing" in reason
    assert f"ln -s {OTHER} {BASE}" in reason


def test_an_image_that_cannot_be_seen_is_not_left() -> None:
    views = {OTHER: ImageView(OTHER), BASE: ImageView(BASE, is_read=False)}
    reason = source_reason(plan(manifest(OTHER), BASE, manifest(BASE), views))
    assert "the backing file cannot be read from here of /images/base.qcow2" in reason


def test_a_domain_is_not_moved_while_it_is_taken_over() -> None:
    assert source_reason(plan(manifest(OTHER), BASE, None))


def test_a_raw_disk_has_nothing_below_whatever_its_guest_wrote() -> None:
    images = Images(VIEWS)
    assert images.find_chain(TOP, "raw") == (TOP,)
    assert images.find_chain(TOP, "qcow2") == (TOP, BASE)
    uses = (ImageUse("vm", "vda", TOP, "raw"),)
    assert Images(VIEWS, uses).find_overlays(BASE) == ()
    assert Images(VIEWS, uses).find_users(BASE) == ()


def test_users_are_found_below_and_by_what_a_running_guest_lists() -> None:
    uses = (
        ImageUse("a", "vda", "/linked/base.qcow2", "qcow2"),
        ImageUse("b", "vda", TOP, "qcow2"),
        ImageUse("c", "vda", "/far/x", "qcow2", is_live=True, below=((BASE, "qcow2"),)),
        ImageUse("d", "vda", "/far/y", "qcow2", mirror=BASE),
    )
    found = Images(VIEWS, uses).find_users(BASE)
    assert [one.domain for one in found] == ["a", "b", "c", "d"]


def test_a_loop_of_images_ends() -> None:
    views = {"/a": ImageView("/a", backing="/b"), "/b": ImageView("/b", backing="/a")}
    assert Images(views).find_chain("/a") == ("/a", "/b")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("base.img", "/i/base.img"),
        ("../b.img", "/i/../b.img"),
        ("/x/b.img", "/x/b.img"),
        ("file:/x/b.img", "/x/b.img"),
        ("file:b.img", "/i/b.img"),
        ('json:{"driver":"qcow2","file":{"driver":"file","filename":"/x/b.img"}}', "/x/b.img"),
        ('json:{"file.filename":"b.img"}', "/i/b.img"),
        ("json:{", "json:{"),
        ("nbd://host/x", "nbd://host/x"),
        ("rbd:pool/image", "rbd:pool/image"),
    ],
)
def test_a_backing_name_is_resolved_as_qemu_does(name: str, found: str) -> None:
    assert resolve_backing(name, "/i/top.qcow2") == found


def test_paths_are_normalised_and_other_names_are_not() -> None:
    assert normalise("//a//b/../c") == "/a/c"
    assert normalise("rbd:pool//image") == "rbd:pool//image"


BORROWED = (
    "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
    f"<source file='{BASE}'/><target dev='vdz' bus='virtio'/></disk>"
)


@pytest.mark.parametrize("is_there", [False, True], ids=["new", "existing"])
def test_a_fragment_does_not_bring_the_image_of_another_machine(is_there: bool) -> None:
    other = read(domain(BASE, None, "other"))
    data = [{"xpath": "/domain/devices", "fragment": BORROWED}]
    spec = {"cpus": 1, "memory": "1GiB", "disks": [], "xml": data}
    wanted = build_machine({"metadata": {"name": "vm"}, "spec": spec}, Place("vm.yaml", 7, 1))
    mine = read(replace(domain(OTHER, wanted), persistent_xml=set_owner(EMPTY, MARK)))
    domains = {"other": other, **({"vm": mine} if is_there else {})}
    world = World(
        "kvm01", "qemu:///system", domains=domains, networks={"default": True},
        pools={"default": PoolView("default", "dir", "/images", VOLUMES)},
        machines={Q35.machine: Q35, "": Q35},
    )  # fmt: skip
    world = replace(world, images=Images(VIEWS, read_uses(other, world)))
    action = plan_machine(wanted, Desired.of(wanted), world, PlanOptions())
    assert action.action is ActionKind.FAILED
    assert action.reason == f"xml: {BASE} is already used by domain other"


def test_an_image_that_may_be_a_volume_of_an_inactive_pool_is_not_given_away() -> None:
    view = domain(OTHER, None, "other")
    volume = "<source pool='usb' volume='{}'/>"
    plain = f"<source file='{OTHER}'/>"
    wanted = manifest(OTHER, format="qcow2")
    reasons = []
    for name in ("other.qcow2", "else.qcow2"):
        xml = view.persistent_xml.replace(plain, volume.format(name)).replace("file'", "volume'")
        other = read(replace(view, persistent_xml=xml))
        world = World(
            "kvm01", "qemu:///system", domains={"other": other}, networks={"default": True},
            pools={
                "default": PoolView("default", "dir", "/images", VOLUMES),
                "usb": Unknown("it is inactive: virsh pool-start usb", transient=True),
            },
            machines={Q35.machine: Q35, "": Q35},
        )  # fmt: skip
        world = replace(world, images=Images(VIEWS, read_uses(other, world)))
        reasons.append(plan_machine(wanted, Desired.of(wanted), world, PlanOptions()).reason)
    assert reasons == [
        f"disks[vda].source: {OTHER} may be usb/other.qcow2, which domain other uses; whether it is "
        "shows when that pool is active: virsh pool-start usb",
        "",
    ]


def test_of_two_new_machines_neither_gets_the_image_of_the_other() -> None:
    one, other = (
        manifest(BASE, "one", format="qcow2"),
        manifest("/linked/base.qcow2", "other", format="qcow2"),
    )
    world = World(
        "kvm01", "qemu:///system", machines={"": Q35}, images=Images(VIEWS),
        pools={"default": PoolView("default", "dir", "/images", VOLUMES)},
    )  # fmt: skip
    action = plan_machine(one, Desired.of(one, other), world, PlanOptions())
    assert action.action is ActionKind.FAILED
    assert f"{BASE} is named by the manifest of other too (as /linked/base.qcow2)" in action.reason


CDROM = (
    f"<disk type='file' device='cdrom'><source file='{BASE}'/><target dev='sda' bus='sata'/>"
    "<readonly/></disk>"
)


READING: Mapping[str, Mapping[str, Any]] = {
    "drive": {"cdroms": [{"name": "sda", "media": BASE}]},
    "volume": {"disks": [{"name": "a", "source": {"volume": "base.qcow2"}, "readonly": True}]},
}


@pytest.mark.parametrize("how", ["drive", "volume", "domain"])
def test_what_another_machine_reads_is_not_given_to_a_new_one_to_write_to(how: str) -> None:
    is_there = how == "domain"
    spec = {"cpus": 1, "memory": "1GiB", **READING.get(how, {})}
    reader = build_machine({"metadata": {"name": "reader"}, "spec": spec}, Place("vm.yaml", 1, 1))
    writer = manifest("/linked/base.qcow2", format="qcow2")
    there = read(replace(domain(OTHER, None, "reader"), persistent_xml=domain(OTHER, None, "reader")
        .persistent_xml.replace("</devices>", f"{CDROM}</devices>")))  # fmt: skip
    world = World(
        "kvm01", "qemu:///system", machines={"": Q35},
        pools={"default": PoolView("default", "dir", "/images", VOLUMES)},
        domains={"reader": there} if is_there else {},
    )  # fmt: skip
    world = replace(world, images=Images(VIEWS, read_uses(there, world) if is_there else ()))
    desired = Desired.of(writer, *(() if is_there else (reader,)))
    action = plan_machine(writer, desired, world, PlanOptions())
    assert action.action is ActionKind.FAILED
    assert "/linked/base.qcow2 is read by " in action.reason
    assert action.reason.endswith("; give this machine a copy of it, or set readonly: true")


def test_a_disk_without_an_alias_that_was_moved_is_not_swapped_for_its_former_image() -> None:
    named = manifest(BASE, name="vm")
    renamed = build_machine(
        {
            "metadata": {"name": "vm"},
            "spec": {"disks": [{"name": "root", "source": {"path": BASE}}]},
        },
        named.place,
    )
    assert "copy moved it" in next(
        change.reason
        for change in plan(renamed, OTHER, renamed).changes
        if change.path == "disks[root].source"
    )


def test_a_disk_that_may_be_another_is_not_plugged_into_the_running_guest() -> None:
    spec = {"disks": [{"name": "root", "source": {"path": BASE}}]}
    wanted = build_machine({"metadata": {"name": "vm"}, "spec": spec}, Place("vm.yaml", 7, 1))
    xml = domain(OTHER, wanted).persistent_xml
    start, end = xml.index("<disk "), xml.index("</devices>")
    port = (
        "<controller type='pci' index='0' model='pcie-root'/>"
        "<controller type='pci' index='1' model='pcie-root-port'/>"
    )
    action = plan(wanted, OTHER, wanted, live=f"{xml[:start]}{port}{xml[end:]}")
    assert {change.path for change in action.changes} == {"disks[root]", "disks[root].source"}
    assert {change.effect for change in action.changes} == {Effect.WITHHELD}
    assert action.steps == ()


def test_two_disks_without_aliases_that_were_moved_are_left_and_said() -> None:
    spec = {
        "disks": [
            {"name": "root", "source": {"path": "/gone/a.qcow2"}},
            {"name": "data", "source": {"path": "/gone/b.qcow2"}},
        ]
    }
    wanted = build_machine({"metadata": {"name": "vm"}, "spec": spec}, Place("vm.yaml", 7, 1))
    action = plan(wanted, OTHER, wanted)
    assert action.action is ActionKind.WITHHELD
    assert {change.effect for change in action.changes} == {Effect.WITHHELD}
    assert all("set the source of each disk" in change.reason for change in action.changes)
