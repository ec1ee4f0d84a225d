"""What the daemon remembers of one object: written once per pass, and safe to lose.

Nothing here is needed to know what to do; it is for people, for backoff and for the prune rails.
Times are seconds since the epoch.
"""

from __future__ import annotations

from typing import Optional, Tuple

from reconciler.core.conditions import Condition
from reconciler.core.frozen import frozen, replace
from reconciler.core.guest import GuestView
from reconciler.core.key import FORMER_KIND, Key
from reconciler.core.secrets import hide_text


@frozen
class LastChange:
    """The last thing that was done to an object: when, at which revision, and what, in short."""

    at: float
    revision: Optional[str]
    what: str


@frozen
class Record:
    """One object.

    `generation` is the manifest's now, `observed_generation` the last one that a pass came to an
    end with (Ready or Stalled).

    `state` is the guest's state in one word, `guest` the same with what else is known of it.
    `inside` is what was seen of the guest's inside; passes leave it alone.
    `migrated` says that the guest went to another host, and has not been seen here since.
    `seen_at` is the revision (or content identity) at which its manifest was last there, and
    `uuid` the domain's then: what a prune is held against. `failures` counts failed tries in a row,
    the first of them at `trying_since`. `boot` identifies the boot of the host during which the
    object was last in the power state that its manifest says.
    """

    name: str
    state: str = "unknown"
    generation: Optional[str] = None
    observed_generation: Optional[str] = None
    revision: Optional[str] = None
    conditions: Tuple[Condition, ...] = ()
    last_change: Optional[LastChange] = None
    last_error: str = ""
    failures: int = 0
    next_try: Optional[float] = None
    uuid: Optional[str] = None
    seen_at: Optional[str] = None
    problem: str = ""
    guest: str = ""
    migrated: bool = False
    kind: str = FORMER_KIND
    inside: Optional[GuestView] = None
    trying_since: Optional[float] = None
    boot: str = ""

    @property
    def key(self) -> Key:
        """The object's kind and name."""
        return Key(self.kind, self.name)

    def condition(self, type_: str) -> Condition:
        """Return the condition of that type; Unknown if nothing is said about it."""
        return next(
            (condition for condition in self.conditions if condition.type == type_),
            Condition(type_, holds=None),
        )


def new_record(key: Key) -> Record:
    """Return the record of an object of which nothing is known."""
    return Record(key.name, kind=key.kind)


def without_secrets(record: Record) -> Record:
    """Return the record as it may be written down: errors quote what others have written."""
    change = record.last_change
    return replace(
        record,
        conditions=tuple(
            replace(condition, reason=hide_text(condition.reason))
            for condition in record.conditions
        ),
        last_change=change and replace(change, what=hide_text(change.what)),
        last_error=hide_text(record.last_error),
        problem=hide_text(record.problem),
        inside=record.inside and _hide_inside(record.inside),
    )


def _hide_inside(view: GuestView) -> GuestView:
    """Hide secrets in the errors that a guest's cloud-init reports."""
    found = view.report.cloud_init
    return replace(
        view,
        reasons=tuple(map(hide_text, view.reasons)),
        report=replace(
            view.report, cloud_init=replace(found, errors=tuple(map(hide_text, found.errors)))
        ),
    )


@frozen
class SourceRecord:
    """The manifests' side: what is in force, since when, and what is wrong with what came after.

    `refused` is why a newer revision is not in force, `problems` are `file:line` lines of manifests
    that are left out, `prune_blocked` why nothing is pruned although manifests are gone,
    `prune_held` the machines that would be, `watching` how files are watched (`inotify`, or
    `polling: why`). `libvirt` is what keeps a driver from being reached, empty if all are.
    `configuration` is why the last reload was refused, `restart_needed` are the settings that a
    reload has found changed and that only a restart puts in force.
    """

    revision: Optional[str] = None
    identity: Optional[str] = None
    since: Optional[float] = None
    error: str = ""
    refused: str = ""
    problems: Tuple[str, ...] = ()
    prune_blocked: str = ""
    watching: str = ""
    prune_held: Tuple[str, ...] = ()
    libvirt: str = ""
    configuration: str = ""
    restart_needed: Tuple[str, ...] = ()


def source_without_secrets(source: SourceRecord) -> SourceRecord:
    """Return the record of the manifests as it may be written down."""
    return replace(
        source,
        error=hide_text(source.error),
        refused=hide_text(source.refused),
        problems=tuple(map(hide_text, source.problems)),
        libvirt=hide_text(source.libvirt),
        configuration=hide_text(source.configuration),
    )


@frozen
class Suspension:
    """An object that is left alone: since when, by whom and why."""

    name: str
    at: float
    by: str = ""
    why: str = ""
    kind: str = FORMER_KIND

    @property
    def key(self) -> Key:
        """The object's kind and name."""
        return Key(self.kind, self.name)
