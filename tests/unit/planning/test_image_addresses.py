"""Templates with an address: when their image is fetched, who waits for it, and what is refused."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any, Mapping, Optional

import pytest

from reconciler.control.executor import find_order
from reconciler.core.image_headers import find_flaw
from reconciler.core.key import Key
from reconciler.core.manifest import Desired, MachineManifest, Place, TemplateManifest
from reconciler.core.plan import Action, ActionKind, CreateVolume, Plan, PlanOptions
from reconciler.core.transfers import FetchImage
from reconciler.core.world import PoolView, VolumeView
from reconciler.errors import FullError, TerminalError
from reconciler.kinds.machine.document import build_machine
from reconciler.kinds.machine.observe import observe
from reconciler.kinds.template.execute import limit_unpacked
from reconciler.kinds.template.planning import IMAGE_NAME
from reconciler.kinds.template.row import build_template
from tests.unit.memory_host import MemoryHost, empty_host

SHA = "0123456789abcdef" * 4
URL = "https://example.org/base.qcow2"
IMAGE = "base-0123456789ab.qcow2"
PLACE = Place("base.yaml", 1, 1)


def template(**image: Any) -> TemplateManifest:
    """Return a template with an address."""
    spec = {"image": {"url": URL, "sha256": SHA, **image}}
    return build_template({"metadata": {"name": "base"}, "spec": spec}, PLACE)


def machine(name: str, host: Optional[str] = None) -> MachineManifest:
    """Return a machine with a clone of the template."""
    disk = {"name": "root", "source": {"template": "base"}}
    spec = {"cpus": 1, "memory": "64MiB", "power": "stopped", "interfaces": [], "disks": [disk]}
    manifest = build_machine({"metadata": {"name": name}, "spec": spec}, PLACE)
    return replace(manifest, host=host)


def with_pool(pool: PoolView) -> MemoryHost:
    """Return a host with that pool alone."""
    return MemoryHost(replace(empty_host(), pools={pool.name: pool}))


def pool_of(*names: str, type_: str = "dir") -> PoolView:
    """Return the pool `default` with images of these names."""
    volumes = {
        name: VolumeView("default", name, f"/images/{name}", "qcow2", 2**20) for name in names
    }
    return PoolView("default", type_, "/images", volumes, available=2**40)


def plan_of(host: MemoryHost, *manifests: Any, unattended: bool = False) -> Plan:
    """Plan."""
    return observe(host, Desired.of(*manifests)).plan(PlanOptions(unattended=unattended))


def actions_of(plan: Plan) -> Mapping[str, Action]:
    """Return the actions by name."""
    return {action.name: action for action in plan.actions}


def test_image_is_fetched_before_its_clones_are_made() -> None:
    manifests = (template(), machine("a"))
    plan = plan_of(with_pool(pool_of()), *manifests)
    actions = actions_of(plan)
    assert actions["base"].steps == (FetchImage(URL, SHA, "default", IMAGE, "qcow2"),)
    [step] = [step for step in actions["a"].steps if isinstance(step, CreateVolume)]
    assert (step.origin, step.capacity) == (f"/images/{IMAGE}", None)
    order = find_order(plan.actions, Desired.of(*manifests))
    assert order.needed[Key("VirtualMachine", "a")] == {Key("Template", "base")}


@pytest.mark.parametrize(
    "manifests",
    [(template(),), (template(), machine("a", host="elsewhere"))],
    ids=["no machine", "a machine of another host"],
)
def test_image_that_nothing_here_is_cloned_from_is_not_fetched(manifests: Any) -> None:
    assert plan_of(with_pool(pool_of()), *manifests).is_empty


def test_image_that_is_there_is_not_fetched() -> None:
    actions = actions_of(plan_of(with_pool(pool_of(IMAGE)), template(), machine("a")))
    assert actions["base"].action is ActionKind.NONE
    assert actions["a"].action is ActionKind.CREATE


@pytest.mark.parametrize("name", [f"{IMAGE}.download", f"{IMAGE}.unpacking", "base.qcow2"])
def test_other_volume_is_not_taken_for_the_image(name: str) -> None:
    actions = actions_of(plan_of(with_pool(pool_of(name)), template(), machine("a")))
    assert actions["base"].action is ActionKind.CREATE


def test_daemon_has_the_machine_wait_for_the_image() -> None:
    actions = actions_of(plan_of(with_pool(pool_of()), template(), machine("a"), unattended=True))
    assert actions["base"].action is ActionKind.CREATE
    assert actions["a"].action is ActionKind.WITHHELD
    assert actions["a"].transient
    assert IMAGE in actions["a"].reason
    there = plan_of(with_pool(pool_of(IMAGE)), template(), machine("a"), unattended=True)
    assert actions_of(there)["a"].action is ActionKind.CREATE


def test_template_without_an_address_is_in_no_plan() -> None:
    plain = build_template({"metadata": {"name": "base"}, "spec": {"volume": IMAGE}}, PLACE)
    assert list(actions_of(plan_of(with_pool(pool_of(IMAGE)), plain, machine("a")))) == ["a"]


def test_images_names_are_told_from_others() -> None:
    assert IMAGE_NAME.fullmatch(IMAGE)
    assert IMAGE_NAME.fullmatch(f"{IMAGE}.download")
    for other in ("base.qcow2", "base-0123.qcow2", "base-0123456789ab.img", f"{IMAGE}.old"):
        assert IMAGE_NAME.fullmatch(other) is None


def header(backing: int = 0, features: int = 0, size: int = 2**20) -> bytes:
    """Return the header of a qcow2."""
    start = struct.pack(">4sIQIIQ", b"QFI\xfb", 3, backing, 9 if backing else 0, 16, size)
    return start.ljust(72, b"\0") + struct.pack(">Q", features) + bytes(40)


@pytest.mark.parametrize(
    ("start", "image_format", "flaw"),
    [
        (header(), "qcow2", ""),
        (b"\0" * 512, "raw", ""),
        (header(), "raw", "set spec.image.format: qcow2"),
        (b"\0" * 512, "qcow2", "set spec.image.format: raw"),
        (b"", "qcow2", "not a qcow2 image"),
        (header(backing=512), "qcow2", "lies over another image"),
        (header(features=4), "qcow2", "in another file"),
        (header(features=2), "qcow2", "corrupt"),
    ],
)
def test_flaw_of_an_image(start: bytes, image_format: str, flaw: str) -> None:
    assert flaw in find_flaw(start, image_format)
    assert bool(flaw) == bool(find_flaw(start, image_format))


def test_what_is_unpacked_is_bounded_by_the_header_and_by_the_room() -> None:
    step = FetchImage(URL, SHA, "default", IMAGE, "qcow2")
    chunks = [header(), *[bytes(2**20)] * 80]
    with pytest.raises(TerminalError, match="twice its size"):
        list(limit_unpacked(iter(chunks), step, 2**40))
    with pytest.raises(FullError, match="room for"):
        list(limit_unpacked(iter(chunks), step, 2**22))
    assert len(list(limit_unpacked(iter(chunks[:40]), step, 2**40))) == 40
