"""The daemons of one host, judged: what `host check` shows. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from reconciler.core.daemons.judge import Judgement, Verdict, find_daemon_at, judge_all
from reconciler.core.daemons.needs import (
    detect_mode,
    detect_needs,
    find_host,
    find_needs,
    is_named,
    users_of,
)
from reconciler.core.daemons.table import BY_NAME, MAIN, Mode
from reconciler.core.daemons.view import DaemonsView
from reconciler.core.manifest import Desired, MachineManifest


@dataclass(frozen=True)
class Row:
    """One daemon, and the machines that require it."""

    judgement: Judgement
    users: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Report:
    """All daemons that are there or should be.

    `manifest` is the `Host` that says the mode, None where it was only found.
    """

    view: DaemonsView
    mode: Mode
    manifest: Optional[str]
    rows: Tuple[Row, ...]

    @property
    def is_right(self) -> bool:
        """Whether nothing is wrong."""
        return all(one.judgement.verdict is not Verdict.WRONG for one in self.rows)

    @property
    def client(self) -> Optional[str]:
        """The daemon that a client reaches, by its units; None if none listens there."""
        return find_daemon_at(
            self.view.client, tuple(one.judgement for one in self.rows), self.view
        )


def make_report(view: DaemonsView, desired: Desired) -> Report:
    """Judge the daemons by the manifests for this host, or by the mode that it is in."""
    machines = tuple(
        one for one in desired.machines if one.host is None or is_named((one.host,), view.host)
    )
    host = find_host(desired.hosts, view.host)
    if host is None or host.mode is None:
        mode = detect_mode(view) or _guess_mode(view)
        needs = detect_needs(mode, machines)
    else:
        mode, needs = host.mode, find_needs(host, machines)
    rows = [_row(one, machines) for one in judge_all(needs, view)]
    there = tuple(one for one in rows if one.judgement.verdict is not Verdict.ABSENT)
    return Report(view, mode, host.name if host and host.mode else None, there)


def _row(judgement: Judgement, machines: Tuple[MachineManifest, ...]) -> Row:
    return Row(judgement, users_of(judgement.daemon.name, machines))


def _guess_mode(view: DaemonsView) -> Mode:
    """Return the mode of what is installed, where nothing is switched on."""
    daemon = BY_NAME[MAIN[Mode.MODULAR]]
    old = BY_NAME[MAIN[Mode.MONOLITHIC]]
    only_old = view.unit(old.service).is_there and not view.unit(daemon.service).is_there
    return Mode.MONOLITHIC if only_old else Mode.MODULAR
