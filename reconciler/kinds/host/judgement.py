"""Judge the daemons of one host: right or wrong, why, and what would put them right. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Mapping, Optional, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.libvirt_daemons import BY_NAME, DAEMONS, MAIN, DaemonsView, LibvirtDaemon, Mode
from reconciler.core.manifest import Desired, MachineManifest, is_named
from reconciler.kinds.host.faults import (
    Fault,
    Need,
    Needs,
    detect_mode,
    detect_needs,
    find_faults,
    find_host,
    find_needs,
    find_on,
    users_of,
)

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
        daemon, need, DaemonHealth.WRONG if faults else rest, faults, _find_note(daemon, view)
    )


def find_hindrance(daemon: LibvirtDaemon, view: DaemonsView) -> str:
    """Say why clients cannot be served by the daemon; empty if they can."""
    faults = judge(daemon, Need.EXPECTED, view).faults
    return "; ".join(f"{fault.reason} ({fault.advice})" for fault in faults if fault.hinders)


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
    rows = [_row(one, machines) for one in judge_all(needs, view)]
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
