"""Plan files: read back as written, and refused for the right reason."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.machine import Cdrom, Disk, Machine
from reconciler.core.manifest import Desired, MachineManifest, Place, TemplateManifest
from reconciler.core.plan import Action, ActionKind, Plan
from reconciler.core.plan_files import (
    CAUSES,
    DONE,
    PlanFile,
    Seal,
    find_moved,
    read_plan_file,
    seal_plan,
    write_plan_file,
)
from reconciler.core.world import PoolView, VolumeView, World
from reconciler.errors import RefusedError

SEAL = Seal("VirtualMachine", "web", True, "m", "d", "t", "v", "s")
TEXT = st.text()
SEALS = st.builds(Seal, TEXT, TEXT, st.booleans(), TEXT, TEXT, TEXT, TEXT, TEXT)
KEPT = PlanFile(
    "2027-01-15T08:00:00Z",
    "1.0",
    ("/srv/vms",),
    None,
    ("old",),
    adopt_all=False,
    shown={"host": "kvm01", "resources": []},
    seals=(SEAL,),
)


@given(
    st.builds(
        PlanFile,
        made_at=st.text(),
        version=st.text(),
        paths=st.lists(st.text()).map(tuple),
        connect=st.none() | st.text(),
        adopt=st.lists(st.text()).map(tuple),
        adopt_all=st.booleans(),
        shown=st.dictionaries(st.text(), st.none() | st.integers() | st.text()).map(
            lambda shown: {**shown, "host": "kvm01"}
        ),
        seals=st.lists(SEALS).map(tuple),
    )
)
def test_it_is_read_as_it_was_written(kept: PlanFile) -> None:
    assert read_plan_file(write_plan_file(kept), "p") == kept


@pytest.mark.parametrize("place", range(20, len(write_plan_file(KEPT)), 37))
def test_any_other_letter_is_found(place: int) -> None:
    text = write_plan_file(KEPT)
    other = "x" if text[place] != "x" else "y"
    with pytest.raises(RefusedError, match=r"^p: "):
        read_plan_file(text[:place] + other + text[place + 1 :], "p")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hello", "p: is not a plan file"),
        ("[" * 100_000, "p: is not a plan file"),
        ("[]", "is not a plan file: use manifests"),
        ('{"formatVersion": 1}', "is not a plan file: use manifests"),
        ('{"virtReconcilerPlan": 3}', "is a plan file of version 3, and this program knows 2"),
        (
            Path(__file__).with_name("former").joinpath("plan.json").read_text(encoding="utf-8"),
            "^p: is a plan file of version 1, and this program knows 2; plan again with",
        ),
        (write_plan_file(KEPT)[:-40], "is not a plan file"),
        (json.dumps({"virtReconcilerPlan": 2}), "digest mismatch"),
    ],
)
def test_what_is_none_is_said_to_be_none(text: str, words: str) -> None:
    with pytest.raises(RefusedError, match=words):
        read_plan_file(text, "p")


@pytest.mark.parametrize("cause", CAUSES)
def test_what_has_moved_on_is_named(cause: str) -> None:
    present = replace(SEAL, **{cause: "other"})  # type: ignore[arg-type]  # by name
    assert find_moved((SEAL,), (present,)) == (f"web: {CAUSES[cause]}",)


def test_other_steps_are_not_told_beside_their_cause() -> None:
    present = replace(SEAL, domain="other", steps="other")
    assert find_moved((SEAL,), (present,)) == (f"web: {CAUSES['domain']}",)


def test_what_is_left_alone_may_move_on_but_its_manifest_may_not() -> None:
    idle = replace(SEAL, has_work=False)
    assert find_moved((idle,), (replace(idle, domain="other", steps="other"),)) == ()
    assert find_moved((idle,), (replace(idle, manifest="other"),)) == (
        "web: its manifest was changed",
    )


def test_what_has_been_done_already_is_told_as_that_and_nothing_else() -> None:
    # Of what needs nothing done neither the domain nor templates and volumes are looked at.
    present = replace(SEAL, has_work=False, domain="", template="", volume="", steps="other")
    assert find_moved((SEAL,), (present,)) == (f"web: {DONE}",)
    assert find_moved((SEAL,), (replace(present, manifest="other"),)) == (
        "web: its manifest was changed",
    )


@pytest.mark.parametrize(
    "machine",
    [
        Machine("web", disks=(Disk("root", pool="fast", volume="data"),)),
        Machine("web", disks=(Disk("root", source="/fast/data"),)),
        Machine("web", disks=(Disk("root", source="fast/data"),)),
        Machine("web", cdroms=(Cdrom("cd", pool="fast", volume="data"),)),
        Machine("web", cdroms=(Cdrom("cd", media="/fast/data"),)),
    ],
)
def test_a_volume_is_sealed_however_it_is_named(machine: Machine) -> None:
    def seal(capacity: int) -> Seal:
        volume = VolumeView("fast", "data", "/fast/data", "raw", capacity)
        pools = {"fast": PoolView("fast", "dir", "/fast", {"data": volume})}
        world = World("kvm01", "qemu:///system", pools=pools)
        plan = Plan(world.host, world.uri, (Action("VirtualMachine", "web", ActionKind.CREATE),))
        manifest = MachineManifest(machine, "g1", "{}", Place("vm.yaml", 1, 1))
        return seal_plan(plan, Desired.of(manifest), world)[0]

    assert find_moved((replace(seal(1), has_work=True),), (seal(2),)) == (
        f"web: {CAUSES['volume']}",
    )


def test_a_template_whose_pool_is_missing_keeps_no_plan_from_being_sealed() -> None:
    machine = Machine("web", disks=(Disk("root", pool="fast", template="base"),))
    template = TemplateManifest("base", Place("t.yaml", 1, 1), pool="gone", volume="base.qcow2")
    manifest = MachineManifest(machine, "g1", "{}", Place("vm.yaml", 1, 1))
    pools = {"fast": PoolView("fast", "dir", "/fast")}
    world = World("kvm01", "qemu:///system", pools=pools)
    plan = Plan(world.host, world.uri, (Action("VirtualMachine", "web", ActionKind.FAILED),))
    [seal] = seal_plan(plan, Desired.of(manifest, template), world)
    assert (seal.name, seal.has_work) == ("web", False)


def test_manifests_that_came_and_went_are_named() -> None:
    new = replace(SEAL, name="new")
    assert find_moved((SEAL,), (new,)) == (
        "web: its manifest is gone, or is for another host now",
        "new: its manifest is new",
    )


@pytest.mark.parametrize("damage", [{"madeAt": None}, {"seals": [{}]}, {"paths": 3}, {"seals": 3}])
def test_file_that_somebody_else_has_written_with_its_digest_is_refused(
    damage: Dict[str, Any],
) -> None:
    data = {**json.loads(write_plan_file(KEPT)), **damage}
    data = {key: value for key, value in data.items() if value is not None and key != "digest"}
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    digest = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    with pytest.raises(RefusedError, match=r"kept\.plan: is not a plan file: "):
        read_plan_file(json.dumps({**data, "digest": digest}), "kept.plan")
