"""Start a machine after the guests of others are ready: `lifecycle.startAfter`.

`apply` waits before the start, and the daemon withholds the start until a look into the guest says
that it is ready. Whether a guest is ready never makes another plan of a machine that runs.
"""

from __future__ import annotations

from typing import Any, Callable, Collection, Iterator, Mapping, Optional

from reconciler.core.documents import DocumentPath, Finding, Together
from reconciler.core.frozen import frozen, replace
from reconciler.core.guest import AgentState, GuestView
from reconciler.core.key import Key
from reconciler.core.machine import Power
from reconciler.core.manifest import MACHINE, Desired, MachineManifest, may_be_same
from reconciler.core.plan import (
    Action,
    ActionKind,
    Effect,
    PlanOptions,
    RecordStart,
    Shutdown,
    Start,
)
from reconciler.core.units import show_span
from reconciler.core.world import Reading, World
from reconciler.errors import AwaitedError, NotFoundError, TransientError
from reconciler.kinds.api import SETTLE_POLL, ActionTask

PATH: DocumentPath = ("spec", "lifecycle", "startAfter")
POWER = "power"
NOT_SEEN = "its guest was not inspected yet"
Planning = Callable[[PlanOptions], Action]


def is_awaiting(action: Action) -> bool:
    """Whether it starts a guest that is off. One that it restarts is not kept off meanwhile."""
    types = {type(step) for step in action.steps}
    return Start in types and Shutdown not in types


def check_start_order(
    manifest: MachineManifest, documents: Together, spoiled: Collection[int]
) -> Iterator[Finding]:
    """Yield what is wrong with the machines that are waited for; circles are found elsewhere."""
    numbers = documents.numbers.get(MACHINE, {})
    for index, name in enumerate(manifest.lifecycle.start_after):
        number = numbers.get(name)
        if name == manifest.name:
            text = f"{name} cannot start after itself; take it out of this list"
        elif number is None:
            others = ", ".join(sorted(numbers.keys() - {manifest.name})) or "none"
            text = f"no VirtualMachine {name!r} among the given manifests; there are: {others}"
        elif number in spoiled:
            text = f"VirtualMachine {name!r} is itself invalid"
        else:
            text = _check_awaited(manifest, documents.manifests[number])
        if text:
            yield Finding((*PATH, index), text)


def _check_awaited(manifest: MachineManifest, other: Any) -> str:
    assert isinstance(other, MachineManifest)  # noqa: S101 - a key has one kind
    if other.host and manifest.host and not may_be_same(other.host, manifest.host):
        return (
            f"{other.name} is placed on {other.host}, and {manifest.name} on {manifest.host}; only "
            "a guest of the same host can be waited for: take it out, or place both on one host"
        )
    if other.machine.guest_agent is not True:
        return (
            f"nobody can tell when the guest of {other.name} is ready: write `guestAgent: true` in "
            f"the manifest of {other.name}, and have qemu-guest-agent in its image"
        )
    return ""


def plan_start(
    manifest: MachineManifest,
    desired: Desired,
    world: World,
    options: PlanOptions,
    plan: Planning,
) -> Action:
    """Plan a machine that is started after others: say it, or why it is not started at all."""
    reading = world.domains.get(manifest.name)
    is_active = isinstance(reading, Reading) and reading.is_active
    stopped = "" if is_active else _find_stopped(manifest, desired.objects)
    if stopped:
        return hold_start(plan, options, stopped, passes=False)
    action = plan(options)
    if not is_awaiting(action):
        return action
    names = manifest.lifecycle.start_after
    verb = "is" if len(names) == 1 else "are"
    return replace(action, notes=(*action.notes, f"starts after {_join(names)} {verb} ready"))


def _join(names: Collection[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _find_stopped(manifest: MachineManifest, objects: Mapping[Key, Any]) -> str:
    """Return which machine that is waited for is to be off; empty if there is none."""
    for name in manifest.lifecycle.start_after:
        other = objects.get(Key(MACHINE, name))
        if other is not None and other.machine.power is Power.STOPPED:
            return (
                f"starts after {name}, which is kept off by its manifest (power: stopped); set "
                f"power: running there, or take {name} out of startAfter"
            )
    return ""


def plan_in_loop(
    manifest: MachineManifest,
    objects: Mapping[Key, Any],
    find_inside: Callable[[Key], Optional[GuestView]],
    options: PlanOptions,
    plan: Planning,
) -> Action:
    """Plan a machine that is off for the daemon, which waits for no guest and is woken."""
    stopped = _find_stopped(manifest, objects)
    if stopped:
        return hold_start(plan, options, stopped, passes=False)
    unready = _find_unready(manifest, find_inside)
    return hold_start(plan, options, unready, passes=True) if unready else plan(options)


def _find_unready(
    manifest: MachineManifest, find_inside: Callable[[Key], Optional[GuestView]]
) -> str:
    """Return for which guest a machine has to wait, and why; empty if all are ready."""
    for name in manifest.lifecycle.start_after:
        view = find_inside(Key(MACHINE, name))
        if view is None or not view.ready:
            reason = (view.reason if view else "") or NOT_SEEN
            return f"waits until {name} is ready: {reason}"
    return ""


def hold_start(plan: Planning, options: PlanOptions, reason: str, *, passes: bool) -> Action:
    """Plan a machine that is off so that all is done but its start, which `reason` withholds.

    `passes` says that it may be started later without a change of a manifest.
    """
    action = plan(replace(options, left={**options.left, POWER: reason}))
    if action.action is ActionKind.CREATE:
        action = replace(
            action,
            steps=tuple(
                step for step in action.steps if not isinstance(step, (Start, RecordStart))
            ),
            changes=tuple(
                replace(change, effect=Effect.WITHHELD, reason=reason)
                if change.path == POWER
                else change
                for change in action.changes
            ),
        )
    is_held = any(change.reason == reason for change in action.changes)
    return replace(action, transient=True) if passes and is_held else action


@frozen
class _Lack:
    """Why a guest is not ready; `is_final` if waiting cannot help."""

    reason: str
    is_final: bool = False


def await_others(task: ActionTask, manifest: MachineManifest) -> bool:
    """Before a machine is started, wait for the guests that must be ready; return if it had to.

    Raises AwaitedError if one is not ready in time, cannot become ready, or Ctrl-C came; what was
    done until then stays.
    """
    if not is_awaiting(task.action):
        return False
    deadline = task.clock.now() + task.awaiting.patience
    names = [name for name in manifest.lifecycle.start_after if _find_lack(task, name)]
    if not names:
        return False
    with task.awaiting.aside():
        for name in names:
            _await_guest(task, name, deadline)
    return True


def _await_guest(task: ActionTask, name: str, deadline: float) -> None:
    while True:
        lack = _find_lack(task, name)
        if lack is None:
            return
        if lack.is_final:
            raise AwaitedError(
                f"{name} is not ready: {lack.reason}; correct that, and the next apply starts it"
            )
        if task.clock.now() >= deadline:
            limit = show_span(task.awaiting.patience)
            raise AwaitedError(
                f"{name} was not ready within {limit}: {lack.reason}; once it is, the next apply "
                "starts it"
            )
        try:
            task.progress(f"waits until {name} is ready: {lack.reason}", 0, -1)
            task.clock.sleep(SETTLE_POLL)
            is_over = task.awaiting.is_over()
        except KeyboardInterrupt:
            # Whoever asked for it sees to it that nothing more begins.
            is_over = True
        if is_over:
            raise AwaitedError(
                f"interrupted while it waited until {name} is ready ({lack.reason}); the next "
                "apply starts it"
            )


def _find_lack(task: ActionTask, name: str) -> Optional[_Lack]:
    """Return why a guest is not ready, None if it is.

    By now the machine's own action is over: what does not run then is not started by this run.
    """
    key = Key(MACHINE, name)
    other, look = task.desired.objects.get(key), task.awaiting.look
    if other is None or look is None:
        return _Lack("it has no manifest", is_final=True)
    try:
        view = look(other)
    except NotFoundError:
        return _Lack(_add_fate(task, key, "there is no such domain on this host"), is_final=True)
    except TransientError as error:
        return _Lack(str(error))
    if view.ready:
        return None
    if view.report.agent is AgentState.OFF:
        return _Lack(_add_fate(task, key, view.reason), is_final=True)
    is_final = view.is_final or view.report.agent is AgentState.NONE
    return _Lack(view.reason or "nothing is known of its guest", is_final)


def _add_fate(task: ActionTask, key: Key, reason: str) -> str:
    fate = task.awaiting.find_fate(key)
    return f"{reason} ({fate})" if fate else reason
