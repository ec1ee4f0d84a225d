"""Taking a domain over: which device is which, what is written, and what is refused. Pure."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any, Mapping, Optional, Tuple

import pytest

from reconciler.core.images import Images, ImageUse, ImageView
from reconciler.core.manifest import Desired, Place
from reconciler.core.names import Owner
from reconciler.core.plan import Action, ActionKind, Define, Effect, PlanOptions, SetMetadata
from reconciler.core.world import DomainView, GuestState, PoolView, VolumeView, World
from reconciler.core.xmltree import parse
from reconciler.errors import TerminalError
from reconciler.kinds.machine.answers import read
from reconciler.kinds.machine.document import build_machine
from reconciler.kinds.machine.domain.mark import read_owner, set_owner
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.domain.soundness import refuse_doubles
from reconciler.kinds.machine.export import export_machine
from reconciler.kinds.machine.planner import plan_machine
from reconciler.kinds.machine.planning.sources import chain_of
from reconciler.kinds.machine.status import find_claims, find_status, pending_paths
from tests.unit.domain.samples import Q35

A, B = "/images/a.qcow2", "/images/b.qcow2"
VOLUMES = {
    name: VolumeView("default", name, f"/images/{name}", "qcow2", 2**30)
    for name in ("a.qcow2", "b.qcow2")
}
WORLD = World(
    "kvm01",
    "qemu:///system",
    networks={"default": True},
    pools={"default": PoolView("default", "dir", "/images", VOLUMES)},
    machines={Q35.machine: Q35},
)
MAC = "52:54:00:00:00:01"
CARD = (
    f"<interface type='network'><mac address='{MAC}'/><source network='default'/>"
    "<model type='virtio'/><alias name='ua-mgmt'/></interface>"
)


def disk(source: str, target: str, alias: str = "", more: str = "") -> str:
    return (
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{source}'/>"
        f"<target dev='{target}' bus='virtio'/>{more}"
        + (f"<alias name='ua-{alias}'/></disk>" if alias else "</disk>")
    )


def domain(*devices: str, name: str = "vm", mark: Optional[Owner] = None) -> str:
    xml = (
        f"<domain type='kvm'><name>{name}</name><uuid>6b1ba3f4-5d4a-4f0e-9f5d-0c3a7e1f9a10</uuid>"
        "<memory unit='MiB'>256</memory><vcpu>1</vcpu>"
        f"<os><type arch='x86_64' machine='{Q35.machine}'>hvm</type></os>"
        f"<devices>{''.join(devices)}<memballoon model='virtio'/></devices></domain>"
    )
    return set_owner(xml, mark) if mark else xml


def plan(
    xml: str,
    spec: Mapping[str, Any],
    *,
    live: Optional[str] = None,
    adopt: bool = True,
    world: World = WORLD,
) -> Action:
    """Return what becomes of the domain `vm` by that spec."""
    data = {"metadata": {"name": "vm"}, "spec": spec}
    manifest = build_machine(data, Place("vm.yaml", 1, 1))
    state = GuestState.RUNNING if live else GuestState.OFF
    found = read(DomainView("vm", "6b1b", state, xml, live))
    world = replace(world, domains={"vm": found})
    return plan_machine(manifest, Desired.of(manifest), world, PlanOptions(adopt_all=adopt))


def paths(action: Action) -> Tuple[str, ...]:
    assert action.action is not ActionKind.FAILED, action.reason
    return tuple(change.path for change in action.changes)


def by_path(path: str, **more: Any) -> Mapping[str, Any]:
    return {"source": {"path": path}, **more}


FOREIGN = {
    "a disk by its image": (
        domain(disk(A, "vda", "system")),
        {"disks": [{"name": "root", **by_path(A)}]},
    ),
    "a disk by its volume": (
        domain(disk(A, "vda", "system")),
        {"disks": [{"name": "root", "source": {"volume": "a.qcow2"}}]},
    ),
    "a disk by its target": (
        domain(disk(A, "vda", "system")),
        {"disks": [{"name": "root", "target": "vda"}]},
    ),
    "a disk by its serial number": (
        domain(disk(A, "vda", "system", "<serial>S1</serial>")),
        {"disks": [{"name": "root", "serial": "S1"}]},
    ),
    "two disks by their images, whatever their targets": (
        domain(disk(B, "vda", "one"), disk(A, "vdb", "two")),
        {
            "disks": [
                {"name": "root", **by_path(A, target="vda")},
                {"name": "data", **by_path(B, target="vdb")},
            ]
        },
    ),
    "a disk whose alias no manifest can hold": (
        domain(disk(A, "vda", "rootdisk-of-a-claim-with-a-rather-long-name-0123456789")),
        {"disks": [{"name": "vda", **by_path(A)}]},
    ),
    "a card by its MAC": (
        domain(CARD),
        {"interfaces": [{"name": "lan", "network": "default", "mac": MAC.upper()}]},
    ),
    "a drive by its target": (
        domain(disk(A, "sda", "cd").replace("device='disk'", "device='cdrom'")),
        {"cdroms": [{"name": "tools", "target": "sda", "media": A}]},
    ),
    "a drive by its medium": (
        domain(disk(A, "sda", "cd").replace("device='disk'", "device='cdrom'")),
        {"cdroms": [{"name": "tools", "media": A}]},
    ),
}


@pytest.mark.parametrize(("xml", "spec"), FOREIGN.values(), ids=FOREIGN.keys())
@pytest.mark.parametrize("running", [False, True], ids=["off", "running"])
def test_device_is_found_whatever_alias_it_has(
    xml: str, spec: Mapping[str, Any], running: bool
) -> None:
    assert paths(plan(xml, spec, live=xml if running else None)) == ("metadata.owner",)


def test_running_device_is_found_by_the_alias_that_another_tool_gave_it() -> None:
    stored, live = domain(disk(B, "vda", "system")), domain(disk(A, "vda", "system"))
    action = plan(stored, {"disks": [{"name": "root", **by_path(B)}]}, live=live)
    assert paths(action) == ("metadata.owner",)
    assert action.pending == ("disks[root].source",)


DOUBLES = {
    "one MAC, by the field xml": (
        domain(CARD),
        {"xml": [{"xpath": "/domain/devices", "fragment": CARD.replace("ua-mgmt", "ua-lan")}]},
        f"MAC address {MAC} would be on two devices",
    ),
    "one image, by the field xml": (
        domain(disk(A, "vda")),
        {
            "xml": [
                {"xpath": "/domain/devices", "fragment": disk(A, "vdb").replace("virtio", "sata")}
            ]
        },
        "image /images/a.qcow2 would be on two devices",
    ),
}


@pytest.mark.parametrize(("xml", "spec", "reason"), DOUBLES.values(), ids=DOUBLES.keys())
@pytest.mark.parametrize("running", [False, True], ids=["off", "running"])
def test_no_definition_has_an_image_or_a_mac_twice(
    xml: str, spec: Mapping[str, Any], reason: str, running: bool
) -> None:
    action = plan(xml, spec, live=xml if running else None)
    assert action.action is ActionKind.FAILED, action
    assert reason in action.reason
    assert action.steps == ()


OTHER_CARD = CARD.replace(MAC, "52:54:00:00:00:02").replace("ua-mgmt", "ua-lan")
DRIVES = "".join(
    f"<disk type='file' device='cdrom'><target dev='{target}' bus='sata'/><readonly/>"
    f"<alias name='ua-{alias}'/></disk>"
    for target, alias in (("sda", "tools"), ("sdb", "setup"))
)
MISLEADING = {
    "two disks named crosswise": (
        domain(disk(A, "vda", "data"), disk(B, "vdb", "root")),
        {"disks": [{"name": "root", **by_path(A)}, {"name": "data", **by_path(B)}]},
        "disks[root]: the domain's disk vdb has the alias ua-root, but the image that the manifest "
        f"gives, {A}, is that of disk vda",
    ),
    "the name of one disk on another": (
        domain(disk(A, "vda"), disk(B, "vdb", "root")),
        {"disks": [{"name": "root", "source": {"volume": "a.qcow2"}}]},
        f"the image that the manifest gives, {A}, is that of disk vda",
    ),
    "cards": (
        domain(CARD, OTHER_CARD),
        {"interfaces": [{"name": "lan", "network": "default", "mac": MAC}]},
        "interfaces[lan]: the domain's interface 52:54:00:00:00:02 has the alias ua-lan, but the "
        f"MAC address that the manifest gives, {MAC}, is that of interface {MAC}",
    ),
    "drives": (
        domain(DRIVES),
        {"cdroms": [{"name": "setup", "target": "sda"}, {"name": "tools", "target": "sdb"}]},
        "the target that the manifest gives, sda, is that of CD-ROM drive sda",
    ),
}


@pytest.mark.parametrize(("xml", "spec", "reason"), MISLEADING.values(), ids=MISLEADING.keys())
@pytest.mark.parametrize("adopt", [False, True], ids=["plan", "adopt"])
def test_an_alias_of_another_tool_that_means_another_device_is_refused(
    xml: str, spec: Mapping[str, Any], reason: str, adopt: bool
) -> None:
    action = plan(xml, spec, adopt=adopt)
    assert action.action is ActionKind.FAILED
    assert reason in action.reason
    assert "remove the alias: virsh edit vm" in action.reason


def test_no_disk_is_moved_to_another_image_while_its_domain_is_taken_over() -> None:
    spec = {"disks": [{"name": "root", **by_path(B)}]}
    action = plan(domain(disk(A, "vda", "root")), spec)
    [moved] = [change for change in action.changes if change.path == "disks[root].source"]
    assert moved.effect is Effect.WITHHELD
    assert "set disks[root].source to {volume: a.qcow2, pool: default}" in moved.reason
    assert all(step.xml.count(B) == 1 for step in action.steps if isinstance(step, Define))


def test_what_is_there_twice_already_is_no_reason_to_change_nothing_else() -> None:
    twice = domain(disk(A, "vda"), disk(A, "vdb"))
    action = plan(twice, {"memory": "300MiB"})
    assert paths(action) == ("memory.size", "metadata.owner")


SHARED = {
    "read by both": "<readonly/>",
    "shared by both": "<shareable/>",
}


@pytest.mark.parametrize("element", SHARED.values(), ids=SHARED.keys())
def test_image_may_be_on_two_disks_where_both_say_so(element: str) -> None:
    both = domain(disk(A, "vda", more=element), disk(A, "vdb", more=element))
    spec = {"xml": [{"xpath": "/domain/devices", "fragment": disk(A, "vdc", more=element)}]}
    assert plan(both, {**spec, "memory": "300MiB"}).action is ActionKind.ADOPT


def marks(action: Action) -> Tuple[Owner, ...]:
    """Return the marks that the steps leave, in order."""
    found = []
    for step in action.steps:
        if isinstance(step, Define):
            found.append(read_owner(parse(step.xml)))
        if isinstance(step, SetMetadata):
            element = step.xml.replace(
                "<manifest ", "<manifest xmlns='urn:virt-reconciler:domain:1' "
            )
            found.append(read_owner(parse(f"<domain><metadata>{element}</metadata></domain>")))
    assert all(found)
    return tuple(one for one in found if one)


def test_mark_is_written_although_a_removal_has_to_wait() -> None:
    xml = domain(disk(A, "vda"), disk(B, "vdb"))
    spec = {"memory": "300MiB", "disks": [{"name": "root", **by_path(A)}]}
    action = plan(xml, spec)
    assert [(change.path, change.effect) for change in action.changes] == [
        ("memory.size", Effect.OFFLINE),
        ("disks[vdb]", Effect.WITHHELD),
        ("metadata.owner", Effect.OFFLINE),
    ]
    written = marks(action)
    assert {one.name for one in written} == {"vm"}
    # Nothing was applied in full yet: what the spec says of an end of the machine does not hold.
    assert {(one.generation, one.spec) for one in written} == {("", "{}")}
    [define] = [step for step in action.steps if isinstance(step, Define)]
    assert len(read_machine(parse(define.xml)).disks or ()) == 2

    owned = plan(define.xml, spec, adopt=False)
    assert [(change.path, change.effect) for change in owned.changes] == [
        ("disks[vdb]", Effect.OFFLINE)
    ]
    assert marks(owned)[-1].generation


def test_the_first_step_of_an_adoption_says_whose_the_domain_is() -> None:
    action = plan(domain(disk(A, "vda")), {"memory": "300MiB"})
    assert [type(step) for step in action.steps] == [SetMetadata, Define, SetMetadata]
    assert marks(action)[0].name == "vm"
    assert marks(action)[-1].generation


def test_domain_with_a_saved_state_is_adopted_and_left_as_it_is() -> None:
    data = {"metadata": {"name": "vm"}, "spec": {"memory": "300MiB"}}
    manifest = build_machine(data, Place("vm.yaml", 1, 1))
    view = DomainView("vm", "6b1b", GuestState.OFF, domain(), saved=True)
    world = replace(WORLD, domains={"vm": read(view)})
    options = PlanOptions(adopt_all=True)
    action = plan_machine(manifest, Desired.of(manifest), world, options)
    assert [(change.path, change.effect) for change in action.changes] == [
        ("memory.size", Effect.WITHHELD),
        ("metadata.owner", Effect.OFFLINE),
    ]
    assert [type(step) for step in action.steps] == [SetMetadata]
    assert action.notes == ("the guest is off, with a saved state, and stays so",)


@pytest.mark.parametrize("adopt", [False, True])
def test_guest_that_is_paused_is_adopted_and_stays_so(adopt: bool) -> None:
    data = {"metadata": {"name": "vm"}, "spec": {}}
    manifest = build_machine(data, Place("vm.yaml", 1, 1))
    view = DomainView("vm", "6b1b", GuestState.PAUSED, domain(), domain(), state_reason="user")
    world = replace(WORLD, domains={"vm": read(view)})
    action = plan_machine(manifest, Desired.of(manifest), world, PlanOptions(adopt_all=adopt))
    assert action.action is ActionKind.ADOPT
    assert action.notes == ("the guest is paused (user), and stays so",)
    assert [type(step) for step in action.steps] == [SetMetadata] * adopt


def test_nothing_of_a_foreign_domain_is_changed_unasked() -> None:
    xml = domain(disk(A, "vda"), disk(B, "vdb"))
    action = plan(xml, {"memory": "300MiB", "disks": []}, adopt=False)
    assert {change.effect for change in action.changes} == {Effect.WITHHELD}
    assert action.steps == ()


MACVTAP = (
    "<interface type='direct'><mac address='52:54:00:00:00:09'/><source dev='eno1' mode='bridge'/>"
    "<model type='virtio'/></interface>"
)
NAMED = {"name": "wan", "mac": "52:54:00:00:00:09"}


@pytest.mark.parametrize("running", [False, True], ids=["off", "running"])
def test_card_that_a_manifest_cannot_make_is_named_and_left_alone(running: bool) -> None:
    xml = domain(CARD, MACVTAP)
    lan = {"name": "lan", "network": "default", "mac": MAC}
    live = xml if running else None
    assert paths(plan(xml, {"interfaces": [lan, NAMED]}, live=live)) == ("metadata.owner",)
    owned = domain(CARD, MACVTAP, mark=Owner("vm", "g"))
    [removal, *_] = plan(owned, {"interfaces": [lan]}, adopt=False).changes
    assert removal.path == "interfaces[52:54:00:00:00:09]"
    assert removal.observed == "macvtap on eno1 virtio 52:54:00:00:00:09"


def test_card_that_is_named_and_not_there_is_refused_with_what_to_write() -> None:
    action = plan(domain(CARD, mark=Owner("vm", "g")), {"interfaces": [NAMED]}, adopt=False)
    assert action.action is ActionKind.FAILED
    assert action.reason == (
        "interfaces[wan]: there is no interface with MAC 52:54:00:00:00:09; correct mac, or give "
        "network or bridge to have a new one"
    )


MADE = "/images/old-root.qcow2"
OLD = Owner("old", "g", '{"disks": [{"name": "root"}]}', made=(MADE,))
RENAMED = {("mark", "old"): ("vm",)}
COPIES = {
    "the original exists": {**RENAMED, ("machine", "old"): ("old",)},
    "its disks are others": {},
}


def test_renamed_machine_that_is_adopted_keeps_the_volumes_that_were_made_for_it() -> None:
    xml = domain(disk(MADE, "vda", "root"), mark=OLD)
    world = replace(WORLD, claims=RENAMED)
    action = plan(xml, {"disks": [{"name": "root", "size": "1GiB"}]}, world=world)
    assert [(change.path, change.observed, change.desired) for change in action.changes][-1] == (
        "metadata.owner", "old", "vm"
    )  # fmt: skip
    [mark] = marks(action)
    assert (mark.name, mark.made, mark.formerly) == ("vm", (MADE,), ("old",))
    again = plan(domain(disk(MADE, "vda", "root"), mark=mark), {"memory": "300MiB"}, adopt=False)
    assert marks(again)[-1].formerly == ("old",)


def test_renamed_machine_keeps_its_volumes_beside_a_foreign_domain_of_its_former_name() -> None:
    xml = domain(disk(MADE, "vda", "root"), mark=OLD)
    everyone = {
        "vm": read(DomainView("vm", "6b1b", GuestState.OFF, xml)),
        "old": read(DomainView("old", "7c2c", GuestState.OFF, domain(name="old"))),
    }
    world = replace(WORLD, claims=find_claims(everyone))
    [mark] = marks(plan(xml, {"disks": [{"name": "root", "size": "1GiB"}]}, world=world))
    assert (mark.name, mark.made, mark.formerly) == ("vm", (MADE,), ("old",))
    owned = domain(name="old", mark=replace(OLD, made=()))
    everyone["old"] = read(DomainView("old", "7c2c", GuestState.OFF, owned))
    world = replace(WORLD, claims=find_claims(everyone))
    [mark] = marks(plan(xml, {"disks": [{"name": "root", "size": "1GiB"}]}, world=world))
    assert (mark.name, mark.made, mark.formerly) == ("vm", (), ())


@pytest.mark.parametrize("claims", COPIES.values(), ids=COPIES.keys())
def test_copy_that_is_adopted_inherits_nothing(claims: Any) -> None:
    unfinished = replace(OLD, creating=(MADE,))
    xml = domain(disk(A, "vda", "root"), mark=unfinished)
    action = plan(xml, {"memory": "300MiB"}, world=replace(WORLD, claims=claims))
    assert paths(action) == ("memory.size", "metadata.owner")
    assert {(one.made, one.formerly, one.creating) for one in marks(action)} == {((), (), ())}


def test_machine_that_was_renamed_before_it_was_complete_is_not_adopted() -> None:
    xml = domain(disk(MADE, "vda", "root"), mark=replace(OLD, creating=(MADE,)))
    action = plan(xml, {"memory": "300MiB"}, world=replace(WORLD, claims=RENAMED))
    assert action.action is ActionKind.FAILED
    assert "rename it back (virsh domrename vm old) and apply old first" in action.reason


def test_disk_of_a_renamed_machine_is_not_offered_to_the_one_that_took_its_name() -> None:
    name = "vm-root.qcow2"
    volume = VolumeView("default", name, f"/images/{name}", "qcow2", 2**30)
    world = replace(
        WORLD,
        pools={"default": PoolView("default", "dir", "/images", {name: volume})},
        images=Images(uses=(ImageUse("old", "vda", volume.path),)),
        claims={("mark", "vm"): ("old",)},
    )
    action = plan(domain(), {"disks": [{"name": "root", "size": "1GiB"}]}, world=world)
    assert action.action is ActionKind.FAILED
    assert action.reason == (
        "disks[root]: volume 'vm-root.qcow2' exists already in pool 'default', and is used by "
        "domain old. That domain has the mark of vm: it was renamed, and the vm that is there "
        "now is another one. Rename the manifest to old and run: virt-reconciler adopt old -f "
        "MANIFESTS"
    )
    world = replace(world, claims={})
    assert (
        "is used by domain old. If that is"
        in plan(domain(), {"disks": [{"name": "root", "size": "1GiB"}]}, world=world).reason
    )


def test_machine_that_exists_by_another_name_is_not_made_a_second_time() -> None:
    manifest = build_machine({"metadata": {"name": "old"}, "spec": {}}, Place("vm.yaml", 1, 1))
    world = replace(WORLD, claims=RENAMED)
    action = plan_machine(manifest, Desired.of(manifest), world, PlanOptions())
    assert action.action is ActionKind.FAILED
    assert action.reason == (
        "domain vm has the mark of old: it was renamed, so no second one is created. Rename it "
        "back: virsh domrename vm old. Or rename the manifest to vm and run: virt-reconciler adopt "
        "vm -f MANIFESTS. If it is a copy, remove the mark: virsh metadata vm --uri "
        "urn:virt-reconciler:domain:1 --config --remove"
    )


@pytest.mark.parametrize("state", [{"saved": True}, {"state": GuestState.SHUTTING_DOWN}])
def test_machine_that_was_adopted_with_a_change_withheld_is_not_ready(state: Any) -> None:
    data = {"metadata": {"name": "vm"}, "spec": {"memory": "300MiB"}}
    manifest = build_machine(data, Place("vm.yaml", 1, 1))
    live = None if "saved" in state else domain()
    view = replace(DomainView("vm", "6b1b", GuestState.OFF, domain(), live), **state)
    world = replace(WORLD, domains={"vm": read(view)})
    action = plan_machine(manifest, Desired.of(manifest), world, PlanOptions(adopt_all=True))
    assert action.changes[0].effect is Effect.WITHHELD
    status = find_status("vm", replace(read(view), owner=marks(action)[-1]))
    assert (status.condition("Ready").holds, status.generation) == (False, None)
    assert "its manifest is not applied in full yet" in status.condition("Ready").reason


FILES = "/usr/share/OVMF/OVMF_{}.fd"


def flash(code: str, secure: str = "") -> str:
    return (
        f"<loader readonly='yes'{secure} type='pflash'>{FILES.format(f'CODE_4M{code}')}</loader>"
        f"<nvram template='{FILES.format(f'VARS_4M{code}')}'>/nvram/vm_VARS.fd</nvram>"
    )


def features(*names: str, secure: str = "yes") -> str:
    rows = "".join(f"<feature enabled='{secure}' name='{name}'/>" for name in names)
    return f"<firmware>{rows}</firmware>"


EFI, BOTH = " firmware='efi'", ("enrolled-keys", "secure-boot")
SECURE = flash(".ms", " secure='yes'")
# How libvirt writes down a guest with UEFI: attribute and content of <os>, then the same of the
# running guest, None where it is the same.
FIRMWARE = {
    "9.0, stored as it was asked for, with Secure Boot as it runs": ((EFI, ""), (EFI, SECURE)),
    "9.0, without Secure Boot as it runs": ((EFI, ""), (EFI, flash(""))),
    "9.0, Secure Boot refused": (
        (EFI, features("secure-boot", secure="no")),
        (EFI, features("secure-boot", secure="no") + flash("")),
    ),
    "9.0, Secure Boot asked for": (
        (EFI, features(*BOTH) + "<loader secure='yes'/>"),
        (EFI, features(*BOTH) + SECURE),
    ),
    "9.2, resolved and its name forgotten": (("", SECURE), None),
    "9.2, resolved without Secure Boot": (("", flash("")), None),
    "10.10, resolved with its features": ((EFI, features(*BOTH) + SECURE), None),
    "10.10, without": ((EFI, features(*BOTH, secure="no") + flash("")), None),
    "by path, in flash": (("", flash("").replace("_4M", "")), None),
    "by path, with Secure Boot": (("", SECURE.replace(".ms", ".secboot")), None),
    "by path, built for Secure Boot and not said": (("", flash(".secboot")), None),
    "by path, in one file": (("", "<loader type='rom'>/usr/share/ovmf/OVMF.fd</loader>"), None),
    "BIOS": (("", ""), None),
}


def with_os(part: Tuple[str, str]) -> str:
    attributes, content = part
    return domain().replace("<os>", f"<os{attributes}>").replace("</os>", f"{content}</os>")


@pytest.mark.parametrize(("stored", "live"), FIRMWARE.values(), ids=FIRMWARE.keys())
@pytest.mark.parametrize("running", [False, True], ids=["off", "running"])
def test_exported_firmware_is_adopted_with_any_libvirt(
    stored: Tuple[str, str], live: Optional[Tuple[str, str]], running: bool
) -> None:
    xml, run = with_os(stored), with_os(live or stored) if running else None
    state = GuestState.RUNNING if running else GuestState.OFF
    found = read(DomainView("vm", "6b1b", state, xml, run))
    spec = export_machine(found, {}, WORLD)["spec"]
    assert paths(plan(xml, spec, live=run)) == ("metadata.owner",)
    assert pending_paths(found) == ()


def test_manifest_of_an_older_libvirt_holds_after_its_update() -> None:
    before, after = with_os((EFI, "")), with_os((EFI, features(*BOTH) + SECURE))
    spec = export_machine(read(DomainView("vm", "6b1b", GuestState.OFF, before)), {}, WORLD)["spec"]
    assert spec["firmware"] == "uefi"
    assert paths(plan(after, spec)) == ("metadata.owner",)


WRONG = {
    "BIOS where UEFI is wanted": ("uefi", ("", "")),
    "UEFI where BIOS is wanted": ("bios", (EFI, "")),
    "Secure Boot is wanted and refused": ("uefi-secure", (EFI, features(*BOTH, secure="no"))),
    "Secure Boot is wanted and another file named": ("uefi-secure", ("", flash(""))),
}


@pytest.mark.parametrize(("wanted", "found"), WRONG.values(), ids=WRONG.keys())
def test_another_firmware_is_withheld(wanted: str, found: Tuple[str, str]) -> None:
    [change, _] = plan(with_os(found), {"firmware": wanted}).changes
    assert (change.path, change.effect) == ("firmware", Effect.WITHHELD)


def test_secure_boot_that_each_start_decides_fits_a_wish_for_it_unless_it_runs_without() -> None:
    spec, stored = {"firmware": "uefi-secure"}, with_os((EFI, ""))
    assert paths(plan(stored, spec)) == ("metadata.owner",)
    assert paths(plan(stored, spec, live=with_os((EFI, SECURE)))) == ("metadata.owner",)
    [change, _] = plan(stored, spec, live=with_os((EFI, flash("")))).changes
    assert (change.path, change.effect) == ("firmware", Effect.WITHHELD)


MISNAMED = {
    "a disk by its target": (
        domain(disk(A, "vda", "system")),
        {"disks": [{"name": "vda", "size": "1GiB"}]},
        "disks[vda]: the domain has disk vda (alias ua-system), and the manifest does not say "
        "whether this is it. If it is, set target: vda (from the domain); if it is a new one, "
        "set a target that is free",
    ),
    "an interface by its network": (
        domain(CARD),
        {"interfaces": [{"name": "lan", "network": "default"}]},
        f"interfaces[lan]: the domain has interface {MAC} (alias ua-mgmt) on the same network, and "
        f"the manifest does not say whether this is it. If it is, set mac: '{MAC}' (from the "
        "domain); if it is a new one, set a MAC address of its own",
    ),
}

PLAIN = CARD.replace("<alias name='ua-mgmt'/>", "")
SECOND = PLAIN.replace(MAC, "52:54:00:00:00:02")
LAN, WAN = ({"name": name, "network": "default"} for name in ("lan", "wan"))
AMBIGUOUS = {
    "two cards for two": (
        (PLAIN, SECOND), {"interfaces": [LAN, WAN]},
        f"set mac: '{MAC}' or mac: '52:54:00:00:00:02' (from the domain)",
    ),
    "two cards for one": (
        (PLAIN, SECOND), {"interfaces": [LAN]}, "which of them this is, if any",
    ),
    "one card for two": ((PLAIN,), {"interfaces": [LAN, WAN]}, f"set mac: '{MAC}'"),
    "a disk": (
        (disk(A, "vda"),), {"disks": [{"name": "root", "size": "1GiB"}]},
        "disks[root]: the domain has disk vda, and the manifest does not say whether this is it",
    ),
    "a drive": (
        (disk(A, "sda").replace("device='disk'", "device='cdrom'"),),
        {"cdroms": [{"name": "tools"}]}, "set target: sda (from the domain)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("devices", "spec", "hint"), AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
@pytest.mark.parametrize("running", [False, True], ids=["off", "running"])
def test_what_may_be_there_already_is_not_added_when_a_domain_is_adopted(
    devices: Tuple[str, ...], spec: Mapping[str, Any], hint: str, running: bool
) -> None:
    xml = domain(*devices)
    action = plan(xml, spec, live=xml if running else None)
    assert (action.action, action.steps) == (ActionKind.FAILED, ())
    assert hint in action.reason


@pytest.mark.parametrize("running", [False, True], ids=["off", "running"])
def test_second_card_of_an_adopted_machine_does_not_cost_it_the_first(running: bool) -> None:
    xml = domain(PLAIN, mark=Owner("vm", "g"))
    live = xml if running else None
    assert paths(plan(xml, {"interfaces": [LAN]}, live=live, adopt=False)) == (
        "metadata.generation",
    )
    action = plan(xml, {"interfaces": [LAN, WAN]}, live=live, adopt=False)
    assert (action.action, action.steps) == (ActionKind.FAILED, ())
    assert f"set mac: '{MAC}' (from the domain)" in action.reason
    cards = [{**LAN, "mac": MAC}, WAN]
    assert paths(plan(xml, {"interfaces": cards}, live=live, adopt=False)) == ("interfaces[wan]",)


def test_what_is_said_to_be_new_is_added_when_a_domain_is_adopted() -> None:
    cards = [{**LAN, "mac": MAC}, {**WAN, "mac": "52:54:00:00:00:09"}]
    disks = [{"name": "data", "size": "1GiB", "target": "vdb"}]
    action = plan(domain(PLAIN, disk(A, "vda")), {"interfaces": cards, "disks": disks})
    assert {"interfaces[wan]", "disks[data]"} <= set(paths(action))


@pytest.mark.parametrize(("xml", "spec", "reason"), MISNAMED.values(), ids=MISNAMED.keys())
def test_second_device_is_not_made_for_one_that_an_alias_hides(
    xml: str, spec: Mapping[str, Any], reason: str
) -> None:
    action = plan(xml, spec)
    assert (action.action, action.reason) == (ActionKind.FAILED, reason)
    owned = set_owner(xml, Owner("vm", "g"))  # there the alias is the name of another device
    assert plan(owned, spec, adopt=False).action is ActionKind.UPDATE


LINK, TOP = "/srv/link.qcow2", "/images/top.qcow2"
NAMES = {
    "by a link": (LINK, {LINK: ImageView(LINK, "1:1"), A: ImageView(A, "1:1")}),
    "below another": (TOP, {TOP: ImageView(TOP, "1:2", backing=A), A: ImageView(A, "1:1")}),
}


@pytest.mark.parametrize(("there", "views"), NAMES.values(), ids=NAMES.keys())
def test_no_definition_has_an_image_twice_by_another_name_or_below_another(
    there: str, views: Any
) -> None:
    find_chain = partial(chain_of, replace(WORLD, images=Images(views)))
    one, both = domain(disk(there, "vda")), domain(disk(there, "vda"), disk(A, "vdb", "data"))
    with pytest.raises(TerminalError, match=r"two devices, disk vda and disk vdb \(data\)"):
        refuse_doubles(both, one, find_chain)
    refuse_doubles(both, both, find_chain)
    others = domain(disk(there, "vda"), disk(B, "vdb", "data"))
    refuse_doubles(others, one, find_chain)


def test_two_clones_of_one_image_are_two_images() -> None:
    views = {
        one: ImageView(one, identity, backing="/images/template.qcow2")
        for one, identity in ((A, "1:1"), (B, "1:2"))
    }
    find_chain = partial(chain_of, replace(WORLD, images=Images(views)))
    refuse_doubles(domain(disk(A, "vda"), disk(B, "vdb")), "", find_chain)


def test_the_size_of_a_device_that_is_not_there_is_left_out_of_an_export() -> None:
    found = read(DomainView("vm", "6b1b", GuestState.OFF, domain(disk(A, "vda"))))
    [one] = export_machine(found, {A: 0}, WORLD)["spec"]["disks"]
    assert "size" not in one
    [one] = export_machine(found, {A: 2**30}, WORLD)["spec"]["disks"]
    assert one["size"] == "1GiB"
