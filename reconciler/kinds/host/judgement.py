"""Judge the daemons of one host, and show them as a table or JSON. Pure."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, Dict, Iterator, List, Mapping, Optional, Sequence, Tuple

from reconciler.core.daemon_faults import (
    Fault,
    Need,
    Needs,
    describe_unit,
    detect_mode,
    detect_needs,
    find_faults,
    find_host,
    find_needs,
    find_on,
    users_of,
)
from reconciler.core.frozen import frozen
from reconciler.core.libvirt_daemons import (
    BY_NAME,
    DAEMONS,
    MAIN,
    DaemonsView,
    LibvirtDaemon,
    Mode,
    SocketAnswer,
    Unit,
)
from reconciler.core.manifest import Desired, MachineManifest, is_named
from reconciler.core.render.text import Style
from reconciler.core.render.words import escape

MUST_BE_OFF = (Need.OFF, Need.FORBIDDEN)


class DaemonHealth(Enum):
    """What is to be said of a daemon; OFF is right for one that nobody needs."""

    RIGHT = "right"
    WRONG = "wrong"
    OFF = "off"
    ABSENT = "absent"


@frozen
class Judgement:
    """What is to be said of one daemon. `note` is worth a word although nothing is wrong."""

    daemon: LibvirtDaemon
    need: Need
    verdict: DaemonHealth
    faults: Tuple[Fault, ...] = ()
    note: str = ""


def judge_all(needs: Needs, view: DaemonsView) -> Tuple[Judgement, ...]:
    """Judge every daemon, in the table's order."""
    return tuple(judge(daemon, needs[daemon.name], view) for daemon in DAEMONS)


def judge(daemon: LibvirtDaemon, need: Need, view: DaemonsView) -> Judgement:
    """Judge one daemon."""
    is_there = any(view.unit(unit).is_there for unit in daemon.units)
    if need in MUST_BE_OFF:
        faults = tuple(find_on(daemon, need, view))
        rest = DaemonHealth.OFF if is_there else DaemonHealth.ABSENT
    elif need is Need.FREE and not _is_in_use(daemon, view):
        faults, rest = (), DaemonHealth.OFF if is_there else DaemonHealth.ABSENT
    else:
        faults, rest = tuple(find_faults(daemon, need, view)), DaemonHealth.RIGHT
    return Judgement(
        daemon=daemon,
        need=need,
        verdict=DaemonHealth.WRONG if faults else rest,
        faults=faults,
        note=_find_note(daemon, view),
    )


def _is_in_use(daemon: LibvirtDaemon, view: DaemonsView) -> bool:
    return any(view.unit(unit).is_on or view.unit(unit).is_failed for unit in daemon.units)


def _find_note(daemon: LibvirtDaemon, view: DaemonsView) -> str:
    answer = view.answers.get(daemon.socket.path)
    return answer.problem if answer and not answer.refused else ""


def find_askable(judgements: Tuple[Judgement, ...], view: DaemonsView) -> Tuple[str, ...]:
    """Return the paths that may be connected to: never one of a daemon that must be off.

    Connecting starts the daemon behind a socket.
    """
    closed = {path for judgement in judgements for path in _paths_to_spare(judgement, view)}
    open_ = [
        judgement.daemon.socket.path
        for judgement in judgements
        if judgement.need not in MUST_BE_OFF and _is_reachable(judgement, view)
    ]
    return tuple(path for path in dict.fromkeys(open_) if path not in closed)


def _paths_to_spare(judgement: Judgement, view: DaemonsView) -> Tuple[str, ...]:
    """Return where a daemon listens that must be off and is not."""
    units = (view.unit(judgement.daemon.socket.unit), view.unit(judgement.daemon.service))
    if judgement.need in MUST_BE_OFF and any(unit.is_active for unit in units):
        return (judgement.daemon.socket.path,)
    return ()


def _is_reachable(judgement: Judgement, view: DaemonsView) -> bool:
    service = view.unit(judgement.daemon.service)
    is_active = view.unit(judgement.daemon.socket.unit).is_active or service.is_active
    listens = judgement.daemon.socket.path in view.listening
    return listens and is_active and not (service.is_failed or service.is_masked)


def find_daemon_at(
    path: str, judgements: Tuple[Judgement, ...], view: DaemonsView
) -> Optional[str]:
    """Return the daemon that listens at the path, by its units; None if no daemon does."""
    by_path: Mapping[str, str] = {
        judgement.daemon.socket.path: judgement.daemon.name
        for judgement in judgements
        if _is_reachable(judgement, view)
    }
    return by_path.get(path)


@frozen
class DaemonRow:
    """One daemon, and the machines that require it."""

    judgement: Judgement
    users: Tuple[str, ...] = ()


@frozen
class Report:
    """All daemons that are there or should be.

    `manifest` is the `Host` that says the mode, None where it was only found.
    """

    view: DaemonsView
    mode: Mode
    manifest: Optional[str]
    rows: Tuple[DaemonRow, ...]

    @property
    def is_right(self) -> bool:
        """Whether nothing is wrong."""
        return all(row.judgement.verdict is not DaemonHealth.WRONG for row in self.rows)

    @property
    def client(self) -> Optional[str]:
        """The daemon that a client reaches, by its units; None if none listens there."""
        return find_daemon_at(
            self.view.client, tuple(row.judgement for row in self.rows), self.view
        )


def make_report(view: DaemonsView, desired: Desired) -> Report:
    """Judge the daemons by the manifests for this host, or by the mode that it is in."""
    machines = tuple(
        machine
        for machine in desired.machines
        if machine.host is None or is_named((machine.host,), view.host)
    )
    host = find_host(desired.hosts, view.host)
    if host is None or host.mode is None:
        mode = detect_mode(view) or _guess_mode(view)
        needs = detect_needs(mode, machines)
    else:
        mode, needs = host.mode, find_needs(host, machines)
    rows = [_row(judgement, machines) for judgement in judge_all(needs, view)]
    there = tuple(row for row in rows if row.judgement.verdict is not DaemonHealth.ABSENT)
    return Report(view, mode, host.name if host and host.mode else None, there)


def _row(judgement: Judgement, machines: Tuple[MachineManifest, ...]) -> DaemonRow:
    return DaemonRow(judgement, users_of(judgement.daemon.name, machines))


def _guess_mode(view: DaemonsView) -> Mode:
    """Return the mode of what is installed, where nothing is switched on."""
    daemon = BY_NAME[MAIN[Mode.MODULAR]]
    old = BY_NAME[MAIN[Mode.MONOLITHIC]]
    only_old = view.unit(old.service).is_there and not view.unit(daemon.service).is_there
    return Mode.MONOLITHIC if only_old else Mode.MODULAR


HEADER = ("DAEMON", "SOCKET", "SERVICE", "LISTENING", "ANSWERS", "VERDICT", "WHAT TO DO")
NOTHING = "-"
_GAP = "  "
_COLOURS = {DaemonHealth.WRONG.value: "red", DaemonHealth.RIGHT.value: "green"}


def render_report(report: Report, style: Style) -> str:
    """Return the table, which daemon a client reaches, and the sum."""
    rows = [HEADER, *(line for row in report.rows for line in _lines(row, report.view))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADER))]
    head, *body = [_lay(row, widths, style) for row in rows]
    end = [_mode(report), _client(report), _sum(report)]
    return "\n".join([style.paint(head, "bold"), *body, "", *end]) + "\n"


def _lay(row: Sequence[str], widths: Sequence[int], style: Style) -> str:
    cells = [
        style.paint(f"{cell:<{width}}", _COLOURS.get(cell, "")) for cell, width in zip(row, widths)
    ]
    return _GAP.join(cells).rstrip()


def _lines(row: DaemonRow, view: DaemonsView) -> Iterator[Tuple[str, ...]]:
    """Yield the daemon's line, and one more for each further thing that is wrong."""
    judgement = row.judgement
    advice = [
        *map(_advise, judgement.faults),
        *([escape(judgement.note)] if judgement.note else []),
    ]
    first, *more = advice or [""]
    yield (*_cells(judgement, view), judgement.verdict.value, first)
    for text in more:
        yield (*[""] * (len(HEADER) - 1), text)


def _cells(judgement: Judgement, view: DaemonsView) -> Tuple[str, ...]:
    daemon = judgement.daemon
    path = daemon.socket.path
    listens = path in view.listening and _is_active(judgement, view)
    return (
        daemon.name,
        describe_unit(view.unit(daemon.socket.unit), is_socket=True),
        describe_service(judgement, view),
        path if listens else NOTHING,
        show_answer(view.answers.get(path)) if listens else NOTHING,
    )


def _is_active(judgement: Judgement, view: DaemonsView) -> bool:
    """Whether it is this daemon that listens: libvirtd and virtproxyd share a path."""
    units = (judgement.daemon.socket.unit, judgement.daemon.service)
    return any(view.unit(name).is_active for name in units)


def describe_service(judgement: Judgement, view: DaemonsView) -> str:
    """Return the service's state; stopped behind its socket is idle."""
    service, socket = view.unit(judgement.daemon.service), view.unit(judgement.daemon.socket.unit)
    text = describe_unit(service, is_socket=False)
    is_idle = service.is_there and not (service.is_active or service.is_failed)
    return text.replace("stopped", "idle") if is_idle and socket.is_active else text


def show_answer(answer: Optional[SocketAnswer]) -> str:
    """Return the unit that answered, or how far that is known."""
    if answer is None:
        return "not asked"
    if answer.problem:
        return "nobody" if answer.refused else "unknown"
    return escape(answer.unit or f"{answer.process} ({answer.pid})")


def _advise(fault: Fault) -> str:
    return f"{escape(fault.reason)}: {escape(fault.advice)}"


def _mode(report: Report) -> str:
    if report.manifest is None:
        return f"Mode: {report.mode.value}, as found; no Host manifest sets it."
    return f"Mode: {report.mode.value}, by Host {escape(report.manifest)}."


def _client(report: Report) -> str:
    view = report.view
    answer = view.answers.get(view.client)
    by_unit = f"{report.client}.service" if report.client else "nobody"
    known = answer is not None and not answer.problem
    who = show_answer(answer) if known else by_unit
    return f"A client of {escape(view.uri)} reaches {who} at {escape(view.client)}."


def _sum(report: Report) -> str:
    wrong = [
        row.judgement.daemon.name
        for row in report.rows
        if row.judgement.verdict is DaemonHealth.WRONG
    ]
    return f"Wrong: {', '.join(wrong)}." if wrong else "Everything is as it should be."


def render_report_json(report: Report) -> str:
    """Return the report as an indented JSON document; keys are only ever added."""
    view = report.view
    document = {
        "formatVersion": 1,
        "host": view.host,
        "right": report.is_right,
        "mode": report.mode.value,
        "manifest": report.manifest,
        "client": {
            "uri": view.uri,
            "socket": view.client,
            "daemon": report.client,
            "answers": _answer(view.answers.get(view.client)),
        },
        "daemons": [_daemon(row, view) for row in report.rows],
    }
    return json.dumps(document, indent=2) + "\n"


def _daemon(row: DaemonRow, view: DaemonsView) -> Dict[str, Any]:
    judgement = row.judgement
    daemon = judgement.daemon
    return {
        "name": daemon.name,
        "need": judgement.need.value,
        "machines": list(row.users),
        "verdict": judgement.verdict.value,
        "units": {
            name: _unit(view.unit(name)) for name in daemon.units if view.unit(name).is_there
        },
        "idle": describe_service(judgement, view).endswith("idle"),
        "listening": _listening(judgement, view),
        "answers": _answer(view.answers.get(daemon.socket.path))
        if _is_active(judgement, view)
        else None,
        "note": judgement.note,
        "faults": [_fault(each) for each in judgement.faults],
    }


def _listening(judgement: Judgement, view: DaemonsView) -> List[str]:
    if not _is_active(judgement, view):
        return []
    return [each.path for each in judgement.daemon.sockets if each.path in view.listening]


def _unit(unit: Unit) -> Dict[str, str]:
    return {
        "load": unit.load,
        "active": unit.active,
        "enabled": unit.enabled,
        "result": unit.result,
    }


def _answer(answer: Optional[SocketAnswer]) -> Any:
    if answer is None:
        return None
    return {
        "unit": answer.unit,
        "process": answer.process,
        "pid": answer.pid,
        "problem": answer.problem,
    }


def _fault(fault: Fault) -> Dict[str, str]:
    return {
        "field": fault.field,
        "unit": fault.unit,
        "observed": fault.observed,
        "desired": fault.desired,
        "reason": fault.reason,
        "todo": fault.advice,
    }
