"""What a manifest has no field for stays as it was, byte for byte, whatever is changed beside it.

Two machines made by hand, with all that libvirt lets stand in a definition, are taken over and
changed in one field: of the stored definition only the lines of that field differ.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Any, Dict, List, Mapping, Tuple

import pytest

from reconciler.core.manifest import MachineManifest
from reconciler.core.plan import Action
from reconciler.core.xmltree import Element, children_of, parse, serialise
from tests.lab.host import LabHost
from tests.real.hand_made.cases import AS_IT_IS, CASES
from tests.real.offering import Offering
from tests.real.worlds import Product
from tests.unit.manifests.documents import load, machine

HAND_MADE = Path(__file__).parent / "hand_made"
IMAGES = {"one.qcow2": "qcow2", "two.img": "raw", "floppy.img": "raw"}
SHUFFLES = 5


@dataclass(frozen=True)
class ByHand:
    """A machine that somebody defined, and its manifests."""

    product: Product
    lab: LabHost
    folder: Path
    name: str

    def define(self) -> None:
        """Define it, with its images there."""
        for name, kind in IMAGES.items():
            self.lab.virsh("vol-create-as", "default", name, "64M", "--format", kind)
        text = (HAND_MADE / f"{self.name}.xml").read_text(encoding="utf-8")
        path = self.folder / "domain.xml"
        text = Offering.of(self.lab).fit(text.replace("@IMAGES@", str(self.lab.images)))
        path.write_text(text, encoding="utf-8")
        self.lab.virsh("define", str(path))
        path.write_text(self.xml(), encoding="utf-8")
        self.lab.virsh("define", str(path))  # libvirt moves some by itself, the first time

    def wanted(self, spec: Mapping[str, Any]) -> MachineManifest:
        """Return the manifest with these fields."""
        loaded = load(self.folder, machine(self.name, **spec))
        assert loaded.problems == ()
        return loaded.desired.machines[0]

    def plan(self, spec: Mapping[str, Any]) -> Action:
        """Return what would happen to it."""
        [action] = self.product.plan(self.wanted(spec)).actions
        return action

    def apply(self, spec: Mapping[str, Any]) -> None:
        """Apply, and see that it is as wanted then."""
        for outcome in self.product.apply(self.wanted(spec), adopt_all=True):
            assert outcome.error is None
        assert self.plan(spec).changes == ()

    def xml(self) -> str:
        """Return the stored definition as libvirt gives it."""
        return self.product.xml(self.name)


@pytest.fixture
def by_hand(product: Product, lab: LabHost, tmp_path: Path, request: Any) -> ByHand:
    """Return the machine of that name, defined."""
    found = ByHand(product, lab, tmp_path, request.param)
    found.define()
    return found


def changed_lines(before: str, after: str) -> Tuple[List[str], List[str]]:
    """Return the lines that went and those that came, save for our mark's."""
    lines = unified_diff(before.splitlines(), after.splitlines(), n=0, lineterm="")
    changed = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
    gone, new = ([one[1:].strip() for one in changed if one[0] == sign] for sign in "-+")
    return sorted(gone), sorted(one for one in new if not one.startswith(("<vr:", "</vr:")))


def here(value: Any, lab: LabHost) -> Any:
    """Return the value with the host's folder in it."""
    if isinstance(value, str):
        return Offering.of(lab).word(value.replace("@IMAGES@", str(lab.images)))
    if isinstance(value, dict):
        return {key: here(one, lab) for key, one in value.items()}
    return [here(one, lab) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("by_hand", "spec", "gone", "new"), CASES.values(), ids=CASES, indirect=["by_hand"]
)
def test_only_the_lines_of_the_field_differ(
    by_hand: ByHand, spec: Dict[str, Any], gone: List[str], new: List[str]
) -> None:
    before = by_hand.xml()
    by_hand.apply({})  # no device goes while a machine is taken over
    by_hand.apply(here(spec, by_hand.lab))
    expected = sorted(gone), sorted(here(new, by_hand.lab))
    assert changed_lines(before, by_hand.xml()) == expected


def shuffled(xml: str, seed: int) -> str:
    """Return the definition with the devices, and what stands in each, in another order."""
    root = parse(xml)
    [devices] = root.findall("devices")
    chance = random.Random(seed)  # noqa: S311 - no secret
    for parent in (devices, *children_of(devices)):
        children: List[Element] = list(parent)
        chance.shuffle(children)
        parent.extend(children)
    return serialise(root)


@pytest.mark.parametrize("by_hand", AS_IT_IS, indirect=True)
def test_another_order_of_the_devices_plans_nothing(by_hand: ByHand) -> None:
    wanted = here(AS_IT_IS[by_hand.name], by_hand.lab)
    by_hand.apply(wanted)
    stored = by_hand.xml()
    for seed in range(SHUFFLES):
        by_hand.product.host.domains.define(shuffled(stored, seed))
        action = by_hand.plan(wanted)
        assert (action.changes, action.steps) == ((), ()), f"seed {seed}"
