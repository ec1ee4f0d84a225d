"""For any change of a running machine: what is left after the apply was said, and a cold start ends it.

The guests have no system, so nothing that a guest has to do its part in is asked for here.
"""

from __future__ import annotations

from typing import Any, Tuple

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from reconciler.core.manifest import MachineManifest
from reconciler.core.plan import Action, ActionKind, Effect
from tests.lab.host import LabHost
from tests.real.hostable import BUSES, specs
from tests.real.test_convergence import manifest
from tests.real.worlds import Product
from tests.strategies import Document, maybe

BALLOON = "memory.size"  # no driver in the guest, so it keeps all of its maximum
REAL = settings(
    max_examples=8, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)  # fmt: skip


@st.composite
def richer(draw: st.DrawFn, chipset: str, power: str) -> Document:
    """Return a spec that also has media, images found, UEFI and a second pool; `@` is a folder."""
    spec: Document = dict(draw(specs(chipset, power)))
    for drive in spec.get("cdroms", ()):
        drive["media"] = draw(st.sampled_from(("none", "@/one.iso", "@/two.iso")))
    for disk in spec.get("disks", ()):
        disk.update(draw(maybe({}, {"pool": st.just("xfs")})))
    if draw(st.booleans()):
        bus = draw(st.sampled_from(BUSES[chipset]))
        found = {"name": "found", "bus": bus, "source": {"path": "@/one.img"}, "format": "raw"}
        spec.setdefault("disks", []).append(found)
    if draw(st.booleans()):
        spec["firmware"] = "uefi"
    return spec


def put(value: Any, folder: str) -> Any:
    """Return the value with the folder in it."""
    if isinstance(value, str):
        return value.replace("@", folder)
    if isinstance(value, dict):
        return {key: put(one, folder) for key, one in value.items()}
    return [put(one, folder) for one in value] if isinstance(value, list) else value


IDENTITY = {"disks": ("name", "size", "source", "pool", "format"), "interfaces": ("name",)}
DRIVES = ("disks", "cdroms")


def keep_devices(before: Document, after: Document) -> Document:
    """Return what is wanted after, with every disk and interface that was there before, and more."""
    for listing, identity in IDENTITY.items():
        if listing not in after:
            continue
        there = before.get(listing, [])
        kept = [
            {
                **{key: value for key, value in new.items() if key not in identity},
                **{key: old[key] for key in identity if key in old},
            }
            for old, new in zip(there, [*after[listing], *there[len(after[listing]) :]])
        ]
        names = {one["name"] for one in there}
        added = [one for one in after[listing][len(there) :] if one["name"] not in names]
        after[listing] = [*kept, *added]
    return after


def number_again(spec: Document) -> Document:
    """Give each device that has a boot number one of its own."""
    numbered = [one for key in IDENTITY for one in spec.get(key, ()) if "boot" in one]
    for number, one in enumerate(numbered, 1):
        one["boot"] = number
    return spec


def pairs(chipset: str) -> st.SearchStrategy[Tuple[Document, Document]]:
    """Return what is wanted of a running machine, and then."""
    two = st.tuples(richer(chipset, "running"), richer(chipset, "running"))
    # Without a list, a new machine gets an interface that the second manifest may not know; and
    # a balloon needs a driver in the guest.
    exact = two.map(
        lambda pair: ({"interfaces": [], **pair[0]}, {**pair[1], "memory": pair[0]["memory"]})
    )
    return exact.map(lambda pair: (pair[0], number_again(keep_devices(*pair))))


def clear(product: Product) -> None:
    """Remove every machine and all volumes, those of the second pool too."""
    product.clear()
    for volume in product.volumes("xfs"):
        product.host.storage.delete_partial("xfs", volume)


def apply(product: Product, wanted: MachineManifest) -> Action:
    """Apply without a failure, and return what the plan had said."""
    [planned] = product.plan(wanted).actions
    assert planned.action is not ActionKind.FAILED, planned.reason
    for outcome in product.apply(wanted):
        assert outcome.error is None, outcome.error
    return planned


def paths(action: Action, effect: Effect) -> set[str]:
    """Return the fields that the plan gives this word."""
    return {change.path for change in action.changes if change.effect is effect}


# A drive that can be unplugged while it holds a medium, and a disk that is to boot first.
SMALL: Document = {"cpus": 1, "memory": "128MiB", "power": "running", "interfaces": []}
BEFORE: Document = {**SMALL, "cdroms": [{"name": "cd", "bus": "scsi", "media": "@/one.iso"}]}
AFTER: Document = {
    **SMALL, "cdroms": [], "disks": [{"name": "new", "size": "8MiB", "boot": 1}],
}  # fmt: skip
# Two that need a controller which is not there yet.
SCSI = [{"name": name, "bus": "scsi", "size": "8MiB"} for name in ("one", "two")]
# One that needs a slot of a kind that a q35 has none of.
CONVENTIONAL = [{"name": "old", "network": "default", "model": "rtl8139"}]


@REAL
@example(pair=(BEFORE, AFTER))
@example(pair=(SMALL, {**SMALL, "disks": SCSI}))
@example(pair=(SMALL, {**SMALL, "interfaces": CONVENTIONAL}))
@given(pair=st.sampled_from(("q35", "pc")).flatmap(pairs))
def test_what_a_change_of_a_running_machine_leaves_was_said(
    product: Product, lab: LabHost, media: str, pair: Tuple[Document, Document]
) -> None:
    clear(product)
    former, wanted = (manifest(put(one, media)) for one in pair)
    apply(product, former)
    planned = apply(product, wanted)
    [left] = product.plan(wanted).actions
    assert {change.path for change in left.changes} == paths(planned, Effect.WITHHELD)
    assert left.steps == ()
    # What is plugged in boots in its turn at the next start.
    said = paths(planned, Effect.NEXT_BOOT) | {f"{one}.boot" for one in paths(planned, Effect.LIVE)}
    # What follows from a field waits with it, and is not named a second time.
    following = {
        change.path for change in planned.changes if change.reason.startswith("follows from")
    }
    waiting = paths(planned, Effect.NEXT_BOOT) - following
    assert waiting - {BALLOON} <= set(left.pending) <= said | {BALLOON}
    lab.virsh("destroy", "vm")
    lab.virsh("start", "vm")
    [after] = product.plan(wanted).actions
    assert after.changes == left.changes
    assert set(after.pending) <= {BALLOON}
