"""Weigh what differs in the stored and in the running configuration of one machine."""

from __future__ import annotations

from dataclasses import field
from datetime import datetime
from typing import Dict, Iterable, List, Mapping, Optional, Tuple

from reconciler.core.frozen import frozen, replace
from reconciler.core.machine import Cdrom, Disk, Disruption, describe_device
from reconciler.core.manifest import Lifecycle
from reconciler.core.plan import Change, Effect, Value
from reconciler.core.world import Reading, World
from reconciler.kinds.machine.match import Difference, DifferenceKind, show_values
from reconciler.kinds.machine.planning.effects import EffectRow, Route, find_row
from reconciler.kinds.machine.planning.guards import (
    HOTPLUG_BUSES,
    Guest,
    explain_secret,
    settle_boot_effect,
)
from reconciler.kinds.machine.planning.states import (
    Standing,
    settle_boot,
    settle_live,
    settle_power,
    settle_start,
)

ONLY_STORED = "the running guest already has it; only the stored definition changes"
PENDING = "already stored; takes effect at the guest's next cold start"


@frozen
class Decision:
    """What becomes of one difference.

    `stored` and `live` are the difference in either configuration, None where there is none.
    A decision without `change` only waits (`RestartRequired`).
    """

    row: EffectRow
    stored: Optional[Difference]
    live: Optional[Difference]
    change: Optional[Change]

    @property
    def difference(self) -> Difference:
        """The difference, from whichever configuration has it."""
        return next(difference for difference in (self.stored, self.live) if difference is not None)

    @property
    def effect(self) -> Optional[Effect]:
        """The effect word, None for what only waits."""
        return self.change.effect if self.change else None

    @property
    def is_done(self) -> bool:
        """Whether this plan carries it out."""
        return self.effect not in (None, Effect.WITHHELD)


def withhold(decision: Decision, reason: str) -> Decision:
    """Return the decision with its change withheld, if it has one."""
    change = decision.change and replace(decision.change, effect=Effect.WITHHELD, reason=reason)
    return replace(decision, change=change)


@frozen
class Weighing:
    """What one machine's decisions depend on besides the differences.

    `held` is why nothing may be done; `waits` says that it passes by itself. `left` is why single
    paths are left alone.
    """

    stored_guest: Guest
    live_guest: Optional[Guest]
    lifecycle: Lifecycle
    now: Optional[datetime]
    held: str = ""
    waits: bool = False
    standing: Optional[Standing] = None
    left: Mapping[str, str] = field(default_factory=dict)

    @property
    def between(self) -> Optional[Standing]:
        """How the guest stands, if it is neither off nor running."""
        return self.standing if self.standing and self.standing.is_between else None


def awaits_window(decisions: Iterable[Decision], weighing: Weighing) -> bool:
    """Whether the running guest is going to be restarted in the next maintenance window."""
    if weighing.lifecycle.disruption is not Disruption.WINDOW or weighing.held:
        return False
    return weighing.live_guest is not None and any(
        decision.row.running is Effect.NEXT_BOOT
        and decision.row.cured
        and decision.live is not None
        and decision.effect in (None, Effect.NEXT_BOOT)
        for decision in decisions
    )


def passes_by_itself(weighing: Weighing, decisions: Tuple[Decision, ...]) -> bool:
    """Whether something is withheld that is to be tried again without anybody's doing."""
    waits = weighing.waits or (weighing.standing is not None and weighing.standing.waits_for_space)
    return waits and any(decision.effect is Effect.WITHHELD for decision in decisions)


def follow_power(decisions: Tuple[Decision, ...]) -> Tuple[Decision, ...]:
    """Leave to the shutdown of this plan what the running guest would need to have a part in.

    A guest that does not answer gives up no device; once it is off, the definition decides.
    """
    done = [decision for decision in decisions if decision.is_done]
    if any(decision.row.route is Route.SHUT_DOWN for decision in done):
        effect, reason = Effect.NEXT_BOOT, "takes effect when this plan shuts the guest down"
    elif any(decision.effect is Effect.RESTART for decision in done):
        effect, reason = Effect.RESTART, "takes effect when this plan restarts the guest"
    else:
        return decisions
    return tuple(
        replace(decision, change=replace(decision.change, effect=effect, reason=reason))
        if decision.change is not None
        and decision.effect is Effect.LIVE
        and decision.row.needs_guest
        else decision
        for decision in decisions
    )


def explain_secrets(
    decisions: Tuple[Decision, ...], reading: Reading, world: World
) -> Tuple[Decision, ...]:
    """Say of each secret that differs whether it was changed, or the domain was."""

    def explain(decision: Decision) -> Decision:
        if decision.change is None or decision.change.reason:
            return decision
        reason = explain_secret(decision.difference, reading.owner, world)
        if not reason:
            return decision
        return replace(decision, change=replace(decision.change, reason=reason))

    return tuple(map(explain, decisions))


def decide(
    stored: Iterable[Difference], live: Iterable[Difference], weighing: Weighing
) -> Tuple[Decision, ...]:
    """Return one decision for each path that differs in either configuration."""
    pairs: Dict[Tuple[str, DifferenceKind], List[Optional[Difference]]] = {}
    for side, differences in enumerate((stored, _with_ejects(live))):
        for difference in differences:
            pairs.setdefault((difference.path, difference.kind), [None, None])[side] = difference
    return tuple(_decide(stored, live, weighing) for stored, live in pairs.values())


def _with_ejects(live: Iterable[Difference]) -> Iterable[Difference]:
    """Before a drive that cannot go while the guest runs, its medium goes."""
    for difference in live:
        item = difference.item
        if (
            difference.kind is DifferenceKind.REMOVE
            and isinstance(item, Cdrom)
            and item.media
            and item.bus not in HOTPLUG_BUSES
        ):
            yield replace(
                difference,
                field="cdroms[].media",
                kind=DifferenceKind.CHANGE,
                observed=item.media,
                desired="",
            )
        yield difference


def _decide(
    stored: Optional[Difference], live: Optional[Difference], weighing: Weighing
) -> Decision:
    # The running guest decides what can be done to it; a device that it lacks, the definition.
    guest = (weighing.live_guest if live else None) or weighing.stored_guest
    difference = live or stored
    assert difference is not None  # noqa: S101 - a pair holds at least one
    row = find_row(difference, guest)
    effect, reason = _settle(row, stored, live, weighing)
    if effect is not None and difference.path in weighing.left and not weighing.held:
        effect, reason = Effect.WITHHELD, weighing.left[difference.path]
    change = effect and Change(*_values(difference), effect, reason)
    return Decision(row, stored, live, change or None)


def _settle(
    row: EffectRow, stored: Optional[Difference], live: Optional[Difference], weighing: Weighing
) -> Tuple[Optional[Effect], str]:
    if weighing.held:
        only_pending = weighing.waits and stored is None and row.running is Effect.NEXT_BOOT
        return (None, PENDING) if only_pending else (Effect.WITHHELD, weighing.held)
    if weighing.live_guest is None:
        return _settle_off(row, weighing)
    settled = _settle_between(row, live, weighing)
    if settled is not None:
        return settled
    if _needs_only_storing(row) and live is None:
        return Effect.LIVE, ONLY_STORED
    return _settle_running(row, stored, weighing)


def _settle_between(
    row: EffectRow, live: Optional[Difference], weighing: Weighing
) -> Optional[Tuple[Effect, str]]:
    """Return what a guest that is neither off nor running allows; None where it allows all."""
    standing = weighing.between
    if standing is None:
        return None
    if row.field == "power":
        return settle_power(standing)
    if row.running is not Effect.LIVE or live is None:
        return None
    return settle_live(standing, row.field, needs_guest=row.needs_guest)


def _settle_running(
    row: EffectRow, stored: Optional[Difference], weighing: Weighing
) -> Tuple[Optional[Effect], str]:
    if row.running is Effect.NEXT_BOOT:
        return _settle_boot(row, stored, weighing)
    held, reason = settle_boot_effect(weighing.lifecycle, weighing.now)
    if row.running is Effect.RESTART and held is Effect.WITHHELD:
        return held, reason
    return row.running, row.reason


def _settle_off(row: EffectRow, weighing: Weighing) -> Tuple[Effect, str]:
    if row.route is Route.START and weighing.standing is not None:
        settled = settle_start(weighing.standing)
        if settled is not None:
            return settled
    return row.off, row.reason if _says_why(row) else ""


def _says_why(row: EffectRow) -> bool:
    """Whether the row's reason holds while the machine is off."""
    return row.off is Effect.WITHHELD or row.route is Route.START


def _needs_only_storing(row: EffectRow) -> bool:
    """Whether nothing has to be done, nor waits, where the running guest has it already."""
    return row.running in (Effect.LIVE, Effect.NEXT_BOOT) and row.route is not Route.BLOCK_RESIZE


def _settle_boot(
    row: EffectRow, stored: Optional[Difference], weighing: Weighing
) -> Tuple[Optional[Effect], str]:
    if weighing.between is None:
        effect, reason = settle_boot_effect(weighing.lifecycle, weighing.now)
    else:
        effect, reason = settle_boot(weighing.between)
    if effect is not Effect.WITHHELD and not row.cured:
        effect, reason = Effect.NEXT_BOOT, ""  # now or in the next window, nobody restarts for it
    if stored is not None:
        return effect, "; ".join(text for text in (row.reason, reason) if text)
    return (effect if effect is Effect.RESTART else None), PENDING


def _values(difference: Difference) -> Tuple[str, Value, Value]:
    """Return path, observed and desired as a reader wants them; devices in a few words."""
    if difference.item is None or difference.kind is DifferenceKind.CHANGE:
        return (difference.path, *show_values(difference))
    item = difference.item
    image = item.source if isinstance(item, Disk) else None
    if difference.kind is DifferenceKind.ADD:
        return difference.path, None, describe_device(item, image or "")
    return difference.path, describe_device(item, image or ""), None
