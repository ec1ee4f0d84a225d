"""Plan what one version of the manifests changes of machines, where no host is asked. Pure.

That is what would happen on a host that is as the former version says.
"""

from __future__ import annotations

from typing import Iterator, List, Mapping, Sequence, Tuple

from reconciler.core.frozen import replace
from reconciler.core.machine import Machine
from reconciler.core.manifest import MACHINE, Desired, MachineManifest
from reconciler.core.manifest_files import Differing
from reconciler.core.plan import Action, ActionKind, Change, Effect, PlanOptions
from reconciler.core.planner import make_plan
from reconciler.core.world import Reading
from reconciler.kinds.machine.match import compare
from reconciler.kinds.machine.planning.delete import plan_delete
from reconciler.kinds.machine.simulated_host import imagine

UNMANAGED = "not managed until now; only the host knows what exists"

GENERATION = "metadata.generation"
_NO_FIELDS = ("xml[", "metadata.", "volume", "placement.")


def compare_machines(
    base: Desired, head: Desired, differing: Differing, options: PlanOptions
) -> Sequence[Action]:
    """Plan on a host where `base` was applied; every host's machines at once."""
    former = {machine.name: machine for machine in base.machines}
    world = imagine(base.with_kind(MACHINE, map(_free, base.machines)), head)
    keys = differing.changed | differing.added
    chosen = head.with_kind(
        MACHINE, (_free(machine) for machine in head.machines if machine.key in keys)
    )
    others = {key: manifest for key, manifest in chosen.objects.items() if key.kind == MACHINE}
    referred = Desired.of(*others.values(), *head.templates)
    actions: List[Action] = [
        _correct(action, former, head) for action in make_plan(referred, world, options).actions
    ]
    for key in sorted(differing.gone):
        reading = world.domains.get(key.name)
        if key.kind == MACHINE and isinstance(reading, Reading):
            actions.append(plan_delete(reading, world, head))
    return actions


def _free(manifest: MachineManifest) -> MachineManifest:
    """Ask nothing of a host that is not there."""
    return replace(manifest, host=None, required_daemons=())


def _correct(action: Action, former: Mapping[str, MachineManifest], head: Desired) -> Action:
    """Claim nothing of what the base does not say; show a machine that is to be on another host."""
    base = former.get(action.name)
    wanted = next((machine for machine in head.machines if machine.name == action.name), None)
    if base is None or wanted is None:
        return action
    moves = _moves(base, wanted)
    # That the manifest is another one is no news beside that.
    told = (change for change in action.changes if not (moves and change.path == GENERATION))
    changes = (*(_doubt(change, base.machine) for change in told), *moves)
    notes = (*action.notes, *_newly_managed(base.machine, wanted.machine, changes))
    kind = action.action
    if moves and changes == moves:
        kind = ActionKind.WITHHELD
    return replace(action, action=kind, changes=changes, notes=notes)


def _doubt(change: Change, base: Machine) -> Change:
    if change.observed is None or is_managed(base, change.path):
        return change
    return replace(change, observed=None, reason=change.reason or UNMANAGED)


def _moves(base: MachineManifest, wanted: MachineManifest) -> Tuple[Change, ...]:
    if base.host == wanted.host:
        return ()
    reason = (
        "this moves no machine: its manifest is removed on one host, and a new machine is "
        "created on the other"
    )
    return (Change("placement.host", base.host, wanted.host, Effect.WITHHELD, reason=reason),)


def _newly_managed(base: Machine, wanted: Machine, changes: Sequence[Change]) -> Iterator[str]:
    told = {change.path for change in changes}
    for difference in compare(wanted, Machine(wanted.name)):
        if (
            "[" not in difference.path
            and difference.path not in told
            and not is_managed(base, difference.path)
        ):
            yield (
                f"{difference.path} is managed from now on; if it is not {difference.desired}, "
                "it is changed"
            )


def is_managed(machine: Machine, path: str) -> bool:
    """Whether a manifest's machine says anything of that field; what is no field of it is."""
    if path.startswith(_NO_FIELDS):
        return True
    head, bracket, rest = path.partition("[")
    if not bracket:
        return any(
            difference.path == path for difference in compare(machine, Machine(machine.name))
        )
    name, _, leaf = rest.partition("]")
    devices = getattr(machine, head, None)
    found = next((device for device in devices or () if device.name == name), None)
    if not leaf:
        return devices is not None
    return found is not None and getattr(found, leaf[1:], None) is not None
