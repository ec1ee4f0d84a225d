"""The daemons of a host as a table for people or JSON for programs. Pure."""

from __future__ import annotations

import json
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

from reconciler.core.libvirt_daemons import DaemonsView, SocketAnswer, Unit
from reconciler.core.render.layout import Style
from reconciler.core.render.values import escape
from reconciler.kinds.host.faults import Fault, describe_unit
from reconciler.kinds.host.judgement import DaemonHealth, DaemonRow, Judgement, Report

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
    one = row.judgement
    advice = [*map(_advise, one.faults), *([escape(one.note)] if one.note else [])]
    first, *more = advice or [""]
    yield (*_cells(one, view), one.verdict.value, first)
    for text in more:
        yield (*[""] * (len(HEADER) - 1), text)


def _cells(one: Judgement, view: DaemonsView) -> Tuple[str, ...]:
    daemon = one.daemon
    path = daemon.socket.path
    listens = path in view.listening and _is_active(one, view)
    return (
        daemon.name,
        describe_unit(view.unit(daemon.socket.unit), is_socket=True),
        describe_service(one, view),
        path if listens else NOTHING,
        show_answer(view.answers.get(path)) if listens else NOTHING,
    )


def _is_active(one: Judgement, view: DaemonsView) -> bool:
    """Whether it is this daemon that listens: libvirtd and virtproxyd share a path."""
    units = (one.daemon.socket.unit, one.daemon.service)
    return any(view.unit(name).is_active for name in units)


def describe_service(one: Judgement, view: DaemonsView) -> str:
    """Return the service's state; stopped behind its socket is idle."""
    service, socket = view.unit(one.daemon.service), view.unit(one.daemon.socket.unit)
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
    one = row.judgement
    daemon = one.daemon
    return {
        "name": daemon.name,
        "need": one.need.value,
        "machines": list(row.users),
        "verdict": one.verdict.value,
        "units": {
            name: _unit(view.unit(name)) for name in daemon.units if view.unit(name).is_there
        },
        "idle": describe_service(one, view).endswith("idle"),
        "listening": _listening(one, view),
        "answers": _answer(view.answers.get(daemon.socket.path)) if _is_active(one, view) else None,
        "note": one.note,
        "faults": [_fault(each) for each in one.faults],
    }


def _listening(one: Judgement, view: DaemonsView) -> List[str]:
    if not _is_active(one, view):
        return []
    return [each.path for each in one.daemon.sockets if each.path in view.listening]


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
