"""`status` as text for a tired reader: from libvirt, or from the daemon's memory. Pure."""

from __future__ import annotations

from collections import Counter
from typing import Iterable, Iterator, List, Mapping, Sequence, Tuple

from reconciler.core.conditions import (
    GUEST_READY,
    READY,
    RECONCILING,
    RESTART_REQUIRED,
    STALLED,
    Condition,
    Status,
)
from reconciler.core.guest import (
    AddressSource,
    CloudInitState,
    FileSystem,
    GuestDisk,
    GuestReport,
)
from reconciler.core.key import show_key
from reconciler.core.kinds import count_objects
from reconciler.core.overview import (
    LEFT_ALONE,
    NOT_READY,
    SUSPENDED,
    UNKNOWN,
    WORDS,
    Overview,
    OverviewEntry,
)
from reconciler.core.records import SourceRecord, Suspension
from reconciler.core.render.text import Line, Page, Style, lay_columns, lay_lines, lay_text
from reconciler.core.render.words import count, escape, show_path
from reconciler.core.units import format_roughly, show_ago, show_ahead, show_span

SHORT = 12  # characters of a commit or a digest, enough to tell two apart


def describe_trouble(entry: OverviewEntry, now: float) -> List[Line]:
    """Return what is not as it should be; nothing if all is well. No text is said twice."""
    lines: List[Line] = []
    for line in _find_trouble(entry, now):
        if line.text and not any(each.text in line.text for each in lines):
            lines.append(line)
    return lines


def describe_fully(entry: OverviewEntry, now: float) -> List[Line]:
    """Return all that is known."""
    record, ready = entry.record, entry.condition(READY)
    return [
        *_find_suspension(entry, now),
        *(Line(name, _show_condition(entry.condition(name))) for name in _TYPES),
        *_find_guest_ready(entry),
        *_find_rest(entry, now, error="" if record.last_error == ready.reason else "Last error"),
        *_find_command(entry),
        Line("Guest", escape(record.guest or record.state)),
        *(() if record.inside is None else describe_inside(record.inside.report)),
        Line("Generation", _show_generation(entry)),
        Line("Revision", escape(record.revision or "unknown: not from Git")),
        Line("Last change", _show_change(entry, now)),
    ]


def describe_inside(report: GuestReport) -> Iterator[Line]:
    """Yield what is known of the inside of a guest."""
    words = [report.os or report.system, report.host_name and f"host name {report.host_name}"]
    words.append(report.version and f"guest agent {report.version}")
    if any(words):
        yield Line("System", escape(", ".join(filter(None, words))))
    yield from _list(
        "Addresses",
        (
            f"{interface.name or 'unknown name'} ({interface.mac}): "
            f"{', '.join(interface.addresses) or 'none'}{_ORIGINS[interface.source]}"
            for interface in report.interfaces
        ),
    )
    yield from _list("Disks", map(_show_disk, report.disks))
    yield from _list("File systems", map(_show_file_system, report.file_systems))
    cloud_init = report.cloud_init
    if cloud_init.state not in (CloudInitState.UNKNOWN, CloudInitState.ABSENT):
        more = "; ".join(cloud_init.errors) or cloud_init.stage
        state = cloud_init.state.value
        yield Line("cloud-init", escape(f"{state}: {more}" if more else state))


_ORIGINS: Mapping[AddressSource, str] = {
    AddressSource.AGENT: "",
    AddressSource.LEASE: ", from the DHCP lease",
    AddressSource.ARP: ", from the host's ARP table",
}


def _list(label: str, texts: Iterable[str]) -> Iterator[Line]:
    """Yield a line for each text, the label on the first one."""
    for number, text in enumerate(texts):
        yield Line("" if number else label, escape(text))


def _show_disk(disk: GuestDisk) -> str:
    bus = disk.bus and f"on {disk.bus}"
    serial = disk.serial and f"serial {disk.serial}"
    return ", ".join(filter(None, (disk.device, bus, serial)))


def _show_file_system(mounted: FileSystem) -> str:
    where = f"{mounted.mountpoint} ({', '.join(filter(None, (mounted.device, mounted.type)))})"
    if mounted.size is None or mounted.used is None:
        return where
    share = f" ({100 * mounted.used // mounted.size}%)" if mounted.size else ""
    return f"{where}: {format_roughly(mounted.used)} of {format_roughly(mounted.size)} used{share}"


def show_suspension(suspension: Suspension, now: float) -> str:
    """Return since when, by whom and why."""
    by = f" by {suspension.by}" if suspension.by else ""
    why = f": {suspension.why}" if suspension.why else ""
    return escape(f"{show_ago(suspension.at, now)}{by}{why}")


_TYPES = (READY, RECONCILING, STALLED, RESTART_REQUIRED)


def _find_trouble(entry: OverviewEntry, now: float) -> Iterator[Line]:
    yield from _find_suspension(entry, now)
    ready = entry.condition(READY)
    yield Line(STALLED, _reason(entry, STALLED), "red")
    if entry.suspension is None and not ready.holds:
        label = "Unknown" if ready.holds is None else "Not ready"
        yield Line(label, escape(ready.reason), "yellow")
    yield Line(RECONCILING, _reason(entry, RECONCILING))
    yield Line("Cold start", _reason(entry, RESTART_REQUIRED))
    inside = entry.record.inside
    if inside is not None and inside.ready is False and not inside.is_booting:
        yield Line("In the guest", escape(inside.reason), "yellow")
    yield from _find_rest(entry, now, error="Last error")
    yield from _find_command(entry)


def _find_suspension(entry: OverviewEntry, now: float) -> Iterator[Line]:
    if entry.suspension is not None:
        yield Line(SUSPENDED, show_suspension(entry.suspension, now), "magenta")


def _find_guest_ready(entry: OverviewEntry) -> Iterator[Line]:
    """Yield `GuestReady` where the guest is asked."""
    for condition in entry.conditions:
        if condition.type == GUEST_READY:
            yield Line(GUEST_READY, _show_condition(condition))


def _find_rest(entry: OverviewEntry, now: float, *, error: str) -> Iterator[Line]:
    record = entry.record
    if record.problem:
        yield Line("Manifest", f"the newest is not in force: {escape(record.problem)}", "red")
    if record.last_error and error:
        yield Line(error, escape(record.last_error))
    if entry.next_try is not None:
        tries = count(record.failures, "attempt")
        since = record.trying_since
        span = f" in {show_span(now - since)}" if since else ""
        yield Line("Next try", f"{show_ahead(entry.next_try, now)}, after {tries}{span}")


_TO_DO: Mapping[str, str] = {
    STALLED: "change its manifest or the domain; to try again at once: ",
    RECONCILING: "to try again at once: ",
    NOT_READY: "once the cause is gone: ",
    SUSPENDED: "",
}


def _find_command(entry: OverviewEntry) -> Iterator[Line]:
    if entry.command:
        yield Line("To do", escape(f"{_TO_DO[entry.word]}{entry.command}"))


def _reason(entry: OverviewEntry, type_: str) -> str:
    condition = entry.condition(type_)
    return _explain(condition) if condition.holds else ""


def _show_condition(condition: Condition) -> str:
    reason = _explain(condition)
    return f"{condition.word}: {reason}" if reason else condition.word


def _explain(condition: Condition) -> str:
    if condition.type != RESTART_REQUIRED or not condition.reason:
        return escape(condition.reason)
    waiting = ", ".join(show_path(word) for word in condition.reason.split(", "))
    return f"needed for {waiting}"


def _show_generation(entry: OverviewEntry) -> str:
    record = entry.record
    wanted, observed = ((generation or "none")[:SHORT] for generation in _generations(entry))
    if record.generation == record.observed_generation:
        return escape(wanted)
    return escape(f"{wanted}; the last complete pass was at {observed}")


def _generations(entry: OverviewEntry) -> Iterator[str]:
    yield entry.record.generation or ""
    yield entry.record.observed_generation or ""


def _show_change(entry: OverviewEntry, now: float) -> str:
    change = entry.record.last_change
    if change is None:
        return "none by the daemon"
    at = f" at {change.revision[:SHORT]}" if change.revision else ""
    return escape(f"{show_ago(change.at, now)}{at}: {change.what}")


HEADER = ("NAME", "STATE", "READY", "RESTART-REQUIRED", "GENERATION", "REASON")
_GENERATION = 12  # characters of the digest, enough to tell two apart


def render_statuses(statuses: Sequence[Status], style: Style) -> str:
    """Return one line for each machine, columns aligned."""
    lines = lay_columns([HEADER, *(_row(status) for status in statuses)], Page(style))
    return "\n".join(lines) + "\n"


def _row(status: Status) -> Tuple[str, ...]:
    reasons = (_status_reason(condition) for condition in status.conditions)
    return (
        escape(status.name),
        status.guest or status.state,
        SUSPENDED if status.condition(SUSPENDED).holds else status.condition(READY).word,
        status.condition("RestartRequired").word,
        (status.generation or "")[:_GENERATION] or "-",
        "; ".join(reason for reason in reasons if reason),
    )


def _status_reason(condition: Condition) -> str:
    if condition.type == SUSPENDED:
        return escape(f"suspended: {condition.reason}" if condition.reason else LEFT_ALONE)
    if condition.type == READY and condition.reason == LEFT_ALONE:
        return ""  # said already
    if condition.type != "RestartRequired":
        return escape(condition.reason)
    waiting = ", ".join(show_path(word) for word in condition.reason.split(", "))
    return f"waits for a cold start: {waiting}" if condition.holds else ""


STATUS_HEADER = ("NAME", "STATUS", "GUEST", "COLD-START", "CHANGED", "OBSERVED", "REVISION")
DISPENSABLE = ("OBSERVED", "REVISION", "CHANGED")  # the first one goes first
COLOURS: Mapping[str, str] = {
    READY: "green",
    NOT_READY: "yellow",
    UNKNOWN: "yellow",
    STALLED: "red",
    RECONCILING: "cyan",
    SUSPENDED: "magenta",
}
PROBLEMS_SHOWN = 5
POLLING = "polling"
INDENT = 2


def render_overview(
    overview: Overview,
    chosen: Sequence[OverviewEntry],
    page: Page,
    now: float,
    *,
    full: bool = False,
    verbose: bool = False,
) -> str:
    """Return the page; `chosen` are the objects to show, `full` with all that is known of them.

    `verbose` shows every problem of the manifests.
    """
    lines = lay_lines(list(_describe_head(overview, now, verbose=verbose)), page)
    lines += ["", *_lay_objects(chosen, page, now, full=full)]
    return "\n".join(lines) + "\n"


def _describe_head(overview: Overview, now: float, *, verbose: bool) -> Iterator[Line]:
    yield _describe_daemon(overview, now)
    if overview.hindrance:
        text = f"{overview.hindrance}; the daemon runs without it, and what follows is old; ask "
        yield from _line("Memory", f"{text}libvirt itself: virt-reconciler status --live")
    source = overview.source
    yield Line("Manifests", _describe_manifests(source, now))
    if source.watching:
        polling = source.watching.startswith(POLLING)
        yield Line("Watched by", escape(source.watching), "yellow" if polling else "")
    yield from _describe_trouble(source, verbose=verbose)
    for each in overview.broken:
        yield Line("Not used", escape(each), "yellow")


def _describe_daemon(overview: Overview, now: float) -> Line:
    if overview.daemon is not None:
        process = f", process {overview.daemon}" if overview.daemon else ""
        return Line("Daemon", f"running{process}", "green")
    when = f" {show_ago(overview.last_sign, now)}" if overview.last_sign else " before"
    text = f"not running; this is how it was{when} (--live asks libvirt itself)"
    return Line("Daemon", text, "red")


def _describe_manifests(source: SourceRecord, now: float) -> str:
    if source.identity is None:
        return "none in force yet"
    digest = source.identity.rpartition(":")[2][:SHORT]
    which = source.revision or f"{digest} (a digest of the files)"
    since = f", in force for {show_span(now - source.since)}" if source.since else ""
    return escape(f"{which}{since}")


def _describe_trouble(source: SourceRecord, *, verbose: bool) -> Iterator[Line]:
    """Say what keeps newer manifests, a prune or anything at all from being done."""
    yield from _line("Not read", source.error)
    yield from _line("Refused", source.refused)
    if source.problems:
        text = f"{count(len(source.problems), 'problem')}; what was valid last stays in force:"
        yield Line("Invalid", text, "red")
        shown = _shorten(source.problems, verbose=verbose)
        yield from (Line("", escape(problem), "red") for problem in shown)
    yield from _line("Prune", source.prune_blocked)
    yield from _line("libvirt", source.libvirt)
    if source.configuration:
        text = f"not reloaded: {source.configuration}; see: virt-reconciler config check"
        yield from _line("Settings", text)
    if source.restart_needed:
        names = ", ".join(source.restart_needed)
        text = f"restart needed for: {names} (systemctl restart virt-reconciler)"
        yield Line("Settings", escape(text), "yellow")


def _line(label: str, text: str) -> Iterator[Line]:
    if text:
        yield Line(label, escape(text), "red")


def _shorten(problems: Sequence[str], *, verbose: bool) -> Sequence[str]:
    more = len(problems) - PROBLEMS_SHOWN
    if verbose or more <= 0:
        return problems
    return [*problems[:PROBLEMS_SHOWN], f"and {more} more (-v shows all)"]


def _lay_objects(
    chosen: Sequence[OverviewEntry], page: Page, now: float, *, full: bool
) -> List[str]:
    if not chosen:
        return ["Nothing has been inspected yet."]
    lines = lay_columns(
        [STATUS_HEADER, *(_overview_row(entry, now) for entry in chosen)],
        page,
        DISPENSABLE,
        COLOURS,
    )
    describe = describe_fully if full else describe_trouble
    for entry in chosen:
        described = describe(entry, now)
        if described:
            name = page.style.paint(escape(show_key(entry.key)), "bold")
            lines += ["", f"{name}: {entry.word}", *lay_lines(described, page, INDENT)]
    return [*lines, "", *lay_text(_count(chosen), page)]


def _overview_row(entry: OverviewEntry, now: float) -> Tuple[str, ...]:
    record, change = entry.record, entry.record.last_change
    restart = {True: "needed", False: "-", None: "?"}[entry.condition(RESTART_REQUIRED).holds]
    return (
        escape(show_key(entry.key)),
        entry.word,
        escape(record.guest or record.state),
        restart,
        show_ago(change.at, now) if change else "-",
        escape((record.observed_generation or "-")[:SHORT]),
        escape((record.revision or "-")[:SHORT]),
    )


def _count(chosen: Sequence[OverviewEntry]) -> str:
    found = Counter(entry.word for entry in chosen)
    words = ", ".join(f"{found[word]} {word}" for word in WORDS if found[word])
    return f"{count_objects(entry.key for entry in chosen)}: {words}."
