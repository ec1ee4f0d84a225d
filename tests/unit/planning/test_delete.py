"""What goes with a machine, what stays although its disks are to go, and why. Pure."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Dict, Optional, Tuple

import pytest

from reconciler.core.manifest import Desired, Place, TemplateManifest
from reconciler.core.names import Owner
from reconciler.core.plan import Action, ActionKind, DeleteVolume, Effect, Shutdown, Undefine
from reconciler.core.render.words import summarise
from reconciler.core.world import (
    DomainView,
    GuestState,
    PoolView,
    Reading,
    Unknown,
    VolumeView,
    World,
)
from reconciler.kinds.machine.answers import read
from reconciler.kinds.machine.domain.mark import set_owner
from reconciler.kinds.machine.planning.delete import plan_delete
from tests.unit.render.plans import plan_of

PATH = "/images/vm-root.qcow2"
XML = f"""\
<domain type='kvm'>
  <name>vm</name><uuid>6b1ba3f4-5d4a-4f0e-9f5d-0c3a7e1f9a10</uuid>
  <memory unit='KiB'>65536</memory><vcpu>1</vcpu>
  <os><type arch='x86_64' machine='q35'>hvm</type></os>
  <devices>
    <disk type='file' device='disk'>
      <source file='{PATH}'/><target dev='vda' bus='virtio'/><alias name='ua-root'/>
    </disk>
  </devices>
</domain>
"""
OTHER = XML.replace("<name>vm</name>", "<name>other</name>").replace(PATH, "/images/other.qcow2")
TPM = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm></devices>"
ROOT = VolumeView("default", "vm-root.qcow2", PATH, "qcow2", 2**30)
PLACE = Place("template.yaml", 1, 1)


def machine(
    xml: str = XML,
    *,
    disks: Any = ({"name": "root"},),
    made: Tuple[str, ...] = (PATH,),
    running: bool = False,
    saved: bool = False,
    persistent: bool = True,
    **lifecycle: Any,
) -> Reading:
    """Return an owned machine whose disks are to go, unless its lifecycle says otherwise."""
    spec = {"disks": list(disks), "lifecycle": {"deletion": "deleteDisks", **lifecycle}}
    marked = set_owner(xml, Owner("vm", "g1", json.dumps(spec), made=made))
    state = GuestState.RUNNING if running else GuestState.OFF
    live = marked if running else None
    return read(
        DomainView("vm", "6b1b", state, marked, live, persistent=persistent, saved=saved)
    )  # fmt: skip


def other(xml: str) -> Reading:
    return read(DomainView("other", "7c2c", GuestState.OFF, xml))


def world(*volumes: VolumeView, **domains: Any) -> World:
    pool = PoolView(
        "default", "dir", "/images", {volume.name: volume for volume in (ROOT, *volumes)}
    )
    return World("kvm01", "qemu:///system", domains, pools={"default": pool})


def plan(
    reading: Optional[Reading] = None,
    where: Optional[World] = None,
    templates: Tuple[TemplateManifest, ...] = (),
    snapshots: Tuple[str, ...] = (),
) -> Action:
    found, host = reading or machine(), where or world()
    host = replace(host, domains={**host.domains, "vm": found})
    return plan_delete(found, host, Desired.of(*templates), snapshots)


def deleted(action: Action) -> Tuple[str, ...]:
    assert action.action is ActionKind.DELETE, action.reason
    return tuple(step.path for step in action.steps if isinstance(step, DeleteVolume))


def kept(action: Action) -> str:
    """Return why the disk stays; everything else of the machine goes."""
    assert deleted(action) == ()
    assert action.steps == (Undefine(),)
    [change] = [one for one in action.changes if one.path == "disks[root]"]
    assert change.effect is Effect.WITHHELD
    return change.reason


def test_its_own_volume_goes_before_the_definition() -> None:
    action = plan()
    assert action.steps == (DeleteVolume("root", "default", "vm-root.qcow2", PATH), Undefine())
    assert {change.effect for change in action.changes} == {Effect.DESTRUCTIVE}
    [disk] = [change for change in action.changes if change.path == "disks[root]"]
    assert (disk.observed, disk.reason) == (
        "default/vm-root.qcow2, 1GiB", f"its volume is deleted: {PATH}"
    )  # fmt: skip


def test_volume_that_is_called_by_a_former_name_goes_as_well() -> None:
    spec = json.dumps({"disks": [{"name": "root"}], "lifecycle": {"deletion": "deleteDisks"}})
    renamed = XML.replace("<name>vm</name>", "<name>new</name>")

    def plan_end(owner: Owner) -> Action:
        found = read(DomainView("new", "6b1b", GuestState.OFF, set_owner(renamed, owner)))
        return plan_delete(found, world(new=found), Desired(), ())

    owner = Owner("new", "g1", spec, made=(PATH,), formerly=("vm",))
    assert deleted(plan_end(owner)) == (PATH,)
    assert deleted(plan_end(replace(owner, formerly=()))) == ()


USERS: Dict[str, World] = {
    "another domain's disk": world(other=other(OTHER.replace("/images/other.qcow2", PATH))),
    "another domain's drive": world(
        other=other(OTHER.replace("/images/other.qcow2", PATH).replace("device='disk'", "device='cdrom'"))
    ),
    "another domain by a link": world(
        other=other(OTHER.replace("/images/other.qcow2", "/srv/link/vm-root.qcow2"))
    ),
    "another domain by pool and name": world(
        other=other(
            OTHER.replace("<source file='/images/other.qcow2'", "<source pool='default' volume='vm-root.qcow2'")
        )
    ),
    "an overlay": world(replace(ROOT, name="top", path="/images/top", backing=PATH)),
    "an overlay by a link": world(
        replace(ROOT, name="top", path="/images/top", backing="/srv/link/vm-root.qcow2")
    ),
}  # fmt: skip


@pytest.mark.parametrize("user", USERS)
def test_what_others_depend_on_stays(user: str) -> None:
    words = "linked clone" if "overlay" in user else "domain other names it too"
    assert words in kept(plan(where=USERS[user]))


def test_what_a_running_guest_has_and_its_definition_has_not_stays() -> None:
    live = OTHER.replace("/images/other.qcow2", PATH)
    reading = read(DomainView("other", "7c2c", GuestState.RUNNING, OTHER, live))
    assert "domain other names it too" in kept(plan(where=world(other=reading)))


@pytest.mark.parametrize(
    "template",
    [
        TemplateManifest("base", PLACE, image=PATH),
        TemplateManifest("base", PLACE, image="/srv/link/vm-root.qcow2"),
        TemplateManifest("base", PLACE, volume="vm-root.qcow2"),
        TemplateManifest("base", PLACE, pool="default", volume="vm-root.qcow2"),
    ],
)
def test_a_template_s_image_stays(template: TemplateManifest) -> None:
    assert "it is the image of Template base" in kept(plan(templates=(template,)))


def test_a_mark_elsewhere_that_names_the_volume_is_no_use_of_it() -> None:
    copy = set_owner(OTHER, Owner("vm", "g1", made=(PATH,)))
    assert deleted(plan(where=world(other=other(copy)))) == (PATH,)


NOT_MADE: Dict[str, Reading] = {
    "by path": machine(disks=({"name": "root", "source": {"path": PATH}},)),
    "by volume": machine(disks=({"name": "root", "source": {"volume": "vm-root.qcow2"}},)),
    "found when it was taken over": machine(made=()),
    "made elsewhere": machine(made=("/elsewhere/vm-root.qcow2",)),
    "dropped from the manifest": machine(disks=()),
}


@pytest.mark.parametrize("how", NOT_MADE)
def test_an_image_that_was_not_made_for_it_stays(how: str) -> None:
    assert kept(plan(NOT_MADE[how]))


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        (world(other=Unknown("timed out")), "domain 'other' cannot be read"),
        (replace(world(), pools={"default": Unknown("not active")}), "storage pool 'default': not"),
        (replace(world(), pools={}), "storage pool 'default'"),
    ],
)
def test_what_cannot_be_read_forbids_the_whole(where: World, reason: str) -> None:
    action = plan(where=where)
    assert (action.action, action.steps) == (ActionKind.FAILED, ())
    assert reason in action.reason


def test_a_disk_that_was_deleted_already_is_said_and_the_rest_goes() -> None:
    empty = replace(world(), pools={"default": PoolView("default", "dir", "/images")})
    assert "already gone" in kept(plan(where=empty))


def test_undefine_keeps_the_disks_and_reads_no_pool() -> None:
    action = plan(machine(deletion="undefine"), replace(world(), pools={}))
    assert action.steps == (Undefine(),)
    assert action.notes == (f"disks[root]: {PATH} stays",)
    assert [change.path for change in action.changes] == ["definition"]


def test_a_paused_guest_is_deleted_only_where_it_may_be_switched_off_hard() -> None:
    paused = in_state(machine(running=True), state=GuestState.PAUSED, state_reason="user")
    held = plan(paused)
    assert (held.action, held.transient) == (ActionKind.FAILED, True)
    assert "cannot be asked to shut down: virsh resume vm" in held.reason

    hard = machine(running=True, forceOff=True)
    action = plan(in_state(hard, state=GuestState.PAUSED, state_reason="user"))
    assert action.action is ActionKind.DELETE
    power = next(change for change in action.changes if change.path == "power")
    assert (power.observed, "its power is cut" in power.reason) == ("paused", True)


def test_a_guest_is_not_deleted_while_libvirt_backs_it_up() -> None:
    action = plan(in_state(machine(running=True, forceOff=True), job="backup"))
    assert (action.action, action.transient) == (ActionKind.FAILED, True)
    assert "a backup of the guest is under way" in action.reason


def test_a_machine_that_was_undefined_while_it_runs_is_deleted_once_its_definition_is_stored() -> (
    None
):
    action = plan(machine(running=True, persistent=False))
    assert (action.action, action.transient) == (ActionKind.FAILED, True)
    assert action.reason == (
        "the domain is transient (libvirt stores no definition of it), so nothing of it is deleted; "
        "store one: virsh dumpxml --inactive --security-info vm > vm.xml && virsh define vm.xml"
    )


def test_a_guest_that_arrives_by_migration_is_waited_for() -> None:
    arriving = machine(running=True, persistent=False)
    action = plan(in_state(arriving, state=GuestState.PAUSED, state_reason="migrating"))
    assert (action.action, action.transient) == (ActionKind.FAILED, True)
    assert "paused while libvirt migrates it; apply again when that is done" in action.reason


def in_state(reading: Reading, **what: Any) -> Reading:
    """Return the machine in another state."""
    return replace(reading, view=replace(reading.view, **what))


@pytest.mark.parametrize("force", [False, True])
def test_a_running_guest_is_shut_down_first_as_its_last_spec_says(force: bool) -> None:
    action = plan(machine(running=True, shutdownTimeout="30s", forceOff=force))
    assert action.steps[0] == Shutdown(30, force)
    assert action.before.state is GuestState.RUNNING
    assert ("its power is cut" in action.changes[0].reason) is force
    assert action.changes[0].effect is Effect.DESTRUCTIVE


def test_everything_that_goes_with_the_definition_is_listed() -> None:
    xml = XML.replace("<os>", "<os firmware='efi'>").replace("</devices>", TPM)
    action = plan(machine(xml, saved=True, deletion="undefine"))
    assert [change.path for change in action.changes] == ["definition", "nvram", "tpm", "saved"]
    named = XML.replace("</type></os>", "</type><nvram>/nvram/vm.fd</nvram></os>")
    assert [change.observed for change in plan(machine(named)).changes][1] == "/nvram/vm.fd"


def test_a_tpm_of_the_host_s_own_is_not_deleted() -> None:
    xml = XML.replace("</devices>", TPM.replace("emulator", "passthrough"))
    assert "tpm" not in [change.path for change in plan(machine(xml)).changes]


@pytest.mark.parametrize(
    ("action", "reason"),
    [
        (plan(snapshots=("snapshot a", "checkpoint b")), "it has snapshot a, checkpoint b"),
        (plan(templates=(TemplateManifest("gold", PLACE, domain="vm"),)), "Template gold uses it"),
        (plan(replace(machine(), owner=None)), "not managed"),
        (plan(replace(machine(), owner=Owner("other", "g1"))), "not managed"),
    ],
)
def test_what_must_not_go_unseen_is_refused(action: Action, reason: str) -> None:
    assert (action.action, action.steps, action.changes) == (ActionKind.FAILED, (), ())
    assert reason in action.reason


def test_an_orphan_has_nothing_to_do() -> None:
    action = plan(machine(deletion="orphan"))
    assert (action.action, action.steps) == (ActionKind.NONE, ())


def test_the_sum_counts_what_is_deleted_and_not_what_stays() -> None:
    both = plan_of(plan(), plan(where=USERS["an overlay"]))
    found = summarise(both)
    assert (found.delete, found.volumes, found.withheld_changes) == (2, 1, 1)
