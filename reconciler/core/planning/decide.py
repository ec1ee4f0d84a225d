"""Weigh what differs in the stored and in the running configuration of one machine.

For each differing field: one row of the effect table, one decision. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Dict, Iterable, List, Optional, Tuple

from reconciler.core.diff import Difference, Kind
from reconciler.core.manifest import Lifecycle
from reconciler.core.model import Cdrom
from reconciler.core.plan import Change, Effect, Value
from reconciler.core.planning.describe import describe_device
from reconciler.core.planning.effects import Route, Row, find_row
from reconciler.core.planning.guards import HOTPLUG_BUSES, Guest
from reconciler.core.planning.policy import settle_boot_effect

ONLY_STORED = "the running guest is like that already; only the stored definition changes"
PENDING = "stored already; waits for the guest's next cold start"


@dataclass(frozen=True)
class Decision:
    """What becomes of one difference.

    `stored` and `live` are the difference in either configuration, None where there is none.
    A decision without `change` only waits (`RestartRequired`).
    """

    row: Row
    stored: Optional[Difference]
    live: Optional[Difference]
    change: Optional[Change]

    @property
    def difference(self) -> Difference:
        """The difference, from whichever configuration has it."""
        return next(one for one in (self.stored, self.live) if one is not None)

    @property
    def effect(self) -> Optional[Effect]:
        """The effect word, None for what only waits."""
        return self.change.effect if self.change else None

    @property
    def is_done(self) -> bool:
        """Whether this plan carries it out."""
        return self.effect not in (None, Effect.WITHHELD)


@dataclass(frozen=True)
class Weighing:
    """What one machine's decisions depend on besides the differences."""

    stored_guest: Guest
    live_guest: Optional[Guest]
    lifecycle: Lifecycle
    now: Optional[datetime]
    held: str = ""


def decide(
    stored: Iterable[Difference], live: Iterable[Difference], weighing: Weighing
) -> Tuple[Decision, ...]:
    """Return one decision for each path that differs in either configuration."""
    pairs: Dict[Tuple[str, Kind], List[Optional[Difference]]] = {}
    for side, differences in enumerate((stored, _with_ejects(live))):
        for one in differences:
            pairs.setdefault((one.path, one.kind), [None, None])[side] = one
    return tuple(_decide(stored, live, weighing) for stored, live in pairs.values())


def _with_ejects(live: Iterable[Difference]) -> Iterable[Difference]:
    """Before a drive that cannot go while the guest runs, its medium goes."""
    for one in live:
        item = one.item
        if (
            one.kind is Kind.REMOVE
            and isinstance(item, Cdrom)
            and item.media
            and item.bus not in HOTPLUG_BUSES
        ):
            yield replace(
                one, field="cdroms[].media", kind=Kind.CHANGE, observed=item.media, desired=""
            )
        yield one


def _decide(
    stored: Optional[Difference], live: Optional[Difference], weighing: Weighing
) -> Decision:
    # The running guest decides what can be done to it; a device that it lacks, the definition.
    guest = (weighing.live_guest if live else None) or weighing.stored_guest
    difference = live or stored
    assert difference is not None  # noqa: S101 - a pair holds at least one
    row = find_row(difference, guest)
    effect, reason = _settle(row, stored, live, weighing)
    change = effect and Change(*_values(difference), effect, reason)
    return Decision(row, stored, live, change or None)


def _settle(
    row: Row, stored: Optional[Difference], live: Optional[Difference], weighing: Weighing
) -> Tuple[Optional[Effect], str]:
    if weighing.held:
        return Effect.WITHHELD, weighing.held
    if weighing.live_guest is None:
        return row.off, row.reason if row.off is Effect.WITHHELD else ""
    if _needs_only_storing(row) and live is None:
        return Effect.LIVE, ONLY_STORED
    if row.running is Effect.NEXT_BOOT:
        return _settle_boot(row, stored, weighing)
    held, reason = settle_boot_effect(weighing.lifecycle, weighing.now)
    if row.running is Effect.RESTART and held is Effect.WITHHELD:
        return held, reason
    return row.running, row.reason


def _needs_only_storing(row: Row) -> bool:
    """Whether nothing has to be done, nor waits, where the running guest has it already."""
    return row.running in (Effect.LIVE, Effect.NEXT_BOOT) and row.route is not Route.BLOCK_RESIZE


def _settle_boot(
    row: Row, stored: Optional[Difference], weighing: Weighing
) -> Tuple[Optional[Effect], str]:
    effect, reason = settle_boot_effect(weighing.lifecycle, weighing.now)
    if effect is Effect.RESTART and not row.cured:
        effect, reason = Effect.NEXT_BOOT, ""
    if stored is not None:
        return effect, "; ".join(one for one in (row.reason, reason) if one)
    return (effect if effect is Effect.RESTART else None), PENDING


def _values(difference: Difference) -> Tuple[str, Value, Value]:
    """Return path, observed and desired as a reader wants them; devices in a few words."""
    if difference.item is None or difference.kind is Kind.CHANGE:
        return difference.path, difference.observed, difference.desired
    words = describe_device(difference.item)
    if difference.kind is Kind.ADD:
        return difference.path, None, words
    return difference.path, words, None
