"""Judge one daemon: right or wrong, why, and what would put it right. Pure; changes nothing.

A service that is idle behind its listening socket is right: modular daemons exit when nobody needs
them (`--timeout 120`), and the next client starts them again.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Mapping, Optional, Tuple

from reconciler.core.daemons.faults import Fault, find_faults, find_on
from reconciler.core.daemons.needs import Need, Needs
from reconciler.core.daemons.table import DAEMONS, Daemon
from reconciler.core.daemons.view import DaemonsView

MUST_BE_OFF = (Need.OFF, Need.FORBIDDEN)


class Verdict(Enum):
    """What is to be said of a daemon; OFF is right for one that nobody needs."""

    RIGHT = "right"
    WRONG = "wrong"
    OFF = "off"
    ABSENT = "absent"


@dataclass(frozen=True)
class Judgement:
    """What is to be said of one daemon. `note` is worth a word although nothing is wrong."""

    daemon: Daemon
    need: Need
    verdict: Verdict
    faults: Tuple[Fault, ...] = ()
    note: str = ""


def judge_all(needs: Needs, view: DaemonsView) -> Tuple[Judgement, ...]:
    """Judge every daemon, in the table's order."""
    return tuple(judge(one, needs[one.name], view) for one in DAEMONS)


def judge(daemon: Daemon, need: Need, view: DaemonsView) -> Judgement:
    """Judge one daemon."""
    is_there = any(view.unit(one).is_there for one in daemon.units)
    if need in MUST_BE_OFF:
        faults = tuple(find_on(daemon, need, view))
        rest = Verdict.OFF if is_there else Verdict.ABSENT
    elif need is Need.FREE and not _is_in_use(daemon, view):
        faults, rest = (), Verdict.OFF if is_there else Verdict.ABSENT
    else:
        faults, rest = tuple(find_faults(daemon, need, view)), Verdict.RIGHT
    return Judgement(
        daemon, need, Verdict.WRONG if faults else rest, faults, _find_note(daemon, view)
    )


def find_hindrance(daemon: Daemon, view: DaemonsView) -> str:
    """Say why clients cannot be served by the daemon; empty if they can."""
    faults = judge(daemon, Need.EXPECTED, view).faults
    return "; ".join(f"{one.reason} ({one.advice})" for one in faults if one.hinders)


def _is_in_use(daemon: Daemon, view: DaemonsView) -> bool:
    return any(view.unit(one).is_on or view.unit(one).is_failed for one in daemon.units)


def _find_note(daemon: Daemon, view: DaemonsView) -> str:
    answer = view.answers.get(daemon.socket.path)
    return answer.problem if answer and not answer.refused else ""


def find_askable(judgements: Tuple[Judgement, ...], view: DaemonsView) -> Tuple[str, ...]:
    """Return the paths that may be connected to: never one of a daemon that must be off.

    Connecting starts the daemon behind a socket.
    """
    closed = {path for one in judgements for path in _paths_to_spare(one, view)}
    open_ = [
        one.daemon.socket.path
        for one in judgements
        if one.need not in MUST_BE_OFF and _is_reachable(one, view)
    ]
    return tuple(path for path in dict.fromkeys(open_) if path not in closed)


def _paths_to_spare(one: Judgement, view: DaemonsView) -> Tuple[str, ...]:
    """Return where a daemon listens that must be off and is not."""
    units = (view.unit(one.daemon.socket.unit), view.unit(one.daemon.service))
    if one.need in MUST_BE_OFF and any(unit.is_active for unit in units):
        return (one.daemon.socket.path,)
    return ()


def _is_reachable(one: Judgement, view: DaemonsView) -> bool:
    service = view.unit(one.daemon.service)
    is_active = view.unit(one.daemon.socket.unit).is_active or service.is_active
    listens = one.daemon.socket.path in view.listening
    return listens and is_active and not (service.is_failed or service.is_masked)


def find_daemon_at(
    path: str, judgements: Tuple[Judgement, ...], view: DaemonsView
) -> Optional[str]:
    """Return the daemon that listens at the path, by its units; None if no daemon does."""
    by_path: Mapping[str, str] = {
        one.daemon.socket.path: one.daemon.name for one in judgements if _is_reachable(one, view)
    }
    return by_path.get(path)
