"""Plan what one version of the manifests changes against another.

With a host, or a snapshot of one, that is what would happen there; without, what would happen
on a host that is as the former version says. Machines that both versions want alike are left out.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Callable, Iterator, Mapping, Optional, Sequence, Tuple

from reconciler.control.ports import Host
from reconciler.core.machine import Machine
from reconciler.core.manifest import HOST, MACHINE, Desired, MachineManifest
from reconciler.core.manifest_files import Differing, find_differing
from reconciler.core.plan import Action, ActionKind, Change, Effect, Plan, failed_action
from reconciler.core.world import Reading
from reconciler.errors import NotFoundError, ReconcilerError
from reconciler.kinds.machine.deletion import plan_deletion
from reconciler.kinds.machine.differences import compare
from reconciler.kinds.machine.observe import observe
from reconciler.kinds.machine.planner import KIND, PlanOptions, is_placed_here, make_plan
from reconciler.kinds.machine.planning.delete import plan_delete
from reconciler.kinds.machine.simulated_host import imagine

UNMANAGED = "not managed until now; only the host knows what exists"
ORPHANED = "its manifest is removed; the machine stays (lifecycle.deletion: orphan)"

GENERATION = "metadata.generation"
_NO_FIELDS = ("xml[", "metadata.", "volume", "placement.")
Each = Callable[[MachineManifest], MachineManifest]


def compare_without_host(base: Desired, head: Desired, options: PlanOptions) -> Plan:
    """Plan on a host where `base` was applied; every host's machines at once."""
    differing = find_differing(base, head)
    former = {machine.name: machine for machine in base.machines}
    everywhere = base.with_kind(MACHINE, map(_free, base.machines))
    world = imagine(everywhere, head)
    plan = make_plan(_restrict(head, differing, _free), world, options)
    actions = [_correct(action, former, head) for action in plan.actions]
    for name in sorted(differing.gone):
        reading = world.domains[name]
        if isinstance(reading, Reading):
            actions.append(_end(name, plan_delete(reading, world, head)))
    return _finish(plan, actions, differing)


def compare_on(host: Host, base: Desired, head: Desired, options: PlanOptions) -> Plan:
    """Plan on a host as it is; a machine that both versions want alike is left out, drifted or not.

    Raises TransientError if the host cannot be read.
    """
    differing = find_differing(base, head)
    chosen = _restrict(head, differing, lambda one: one)
    plan = observe(host, chosen).plan(options)
    here = [machine for machine in base.machines if is_placed_here(machine, plan.host)]
    gone = sorted(one.name for one in here if one.name in differing.gone)
    ends = [_plan_end(host, head, name) for name in gone]
    return _finish(plan, [*plan.actions, *(end for end in ends if end)], differing)


def _free(manifest: MachineManifest) -> MachineManifest:
    """Ask nothing of a host that is not there."""
    return replace(manifest, host=None, required_daemons=())


def _restrict(head: Desired, differing: Differing, each: Each) -> Desired:
    """Leave out the machines that are wanted as before; and hosts, which are not compared."""
    names = differing.changed | differing.added
    chosen = (each(manifest) for manifest in head.machines if manifest.name in names)
    return head.with_kind(MACHINE, chosen).with_kind(HOST, ())


def _plan_end(host: Host, head: Desired, name: str) -> Optional[Action]:
    """Plan the end of a machine whose manifest goes; None if there is none on the host."""
    try:
        return _end(name, plan_deletion(host, head, name))
    except NotFoundError:
        return None
    except ReconcilerError as error:
        return failed_action(KIND, name, error)


def _end(name: str, action: Action) -> Action:
    """Show what becomes of a machine even where that is nothing."""
    if action.action is not ActionKind.NONE:
        return action
    return Action(KIND, name, ActionKind.WITHHELD, reason=ORPHANED)


def _finish(plan: Plan, actions: Sequence[Action], differing: Differing) -> Plan:
    renamed = dict(differing.renamed)
    told = [_tell_renamed(action, renamed) for action in actions]
    return replace(plan, actions=tuple(sorted(told, key=lambda one: (one.kind, one.name))))


def _tell_renamed(action: Action, renamed: Mapping[str, str]) -> Action:
    new = renamed.get(action.name)
    if new is None:
        return action
    note = (
        f"its manifest is called {new} now: that is another machine, created with new disks; to "
        "keep this one, do not change metadata.name"
    )
    return replace(action, notes=(*action.notes, note))


def _correct(action: Action, former: Mapping[str, MachineManifest], head: Desired) -> Action:
    """Claim nothing of what the base does not say; show a machine that is to be on another host."""
    base = former.get(action.name)
    wanted = next((machine for machine in head.machines if machine.name == action.name), None)
    if base is None or wanted is None:
        return action
    moves = _moves(base, wanted)
    # That the manifest is another one is no news beside that.
    told = (change for change in action.changes if not (moves and change.path == GENERATION))
    changes = (*(_doubt(one, base.machine) for one in told), *moves)
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
    return (Change("placement.host", base.host, wanted.host, Effect.WITHHELD, reason),)


def _newly_managed(base: Machine, wanted: Machine, changes: Sequence[Change]) -> Iterator[str]:
    told = {change.path for change in changes}
    for one in compare(wanted, Machine(wanted.name)):
        if "[" not in one.path and one.path not in told and not is_managed(base, one.path):
            yield f"{one.path} is managed from now on; if it is not {one.desired}, it is changed"


def is_managed(machine: Machine, path: str) -> bool:
    """Whether a manifest's machine says anything of that field; what is no field of it is."""
    if path.startswith(_NO_FIELDS):
        return True
    head, bracket, rest = path.partition("[")
    if not bracket:
        return any(one.path == path for one in compare(machine, Machine(machine.name)))
    name, _, leaf = rest.partition("]")
    devices = getattr(machine, head, None)
    found = next((device for device in devices or () if device.name == name), None)
    if not leaf:
        return devices is not None
    return found is not None and getattr(found, leaf[1:], None) is not None
