"""What is wanted of each daemon: by a `Host`, by machines, or by the mode that was found. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Collection, Dict, Iterable, Mapping, Optional, Tuple

from reconciler.core.daemons.table import BY_NAME, DAEMONS, MAIN, Daemon, Mode
from reconciler.core.daemons.view import DaemonsView
from reconciler.core.manifest import HostManifest, MachineManifest

Needs = Mapping[str, "Need"]


class Need(Enum):
    """What is wanted of a daemon.

    REQUIRED: a `Host` names it, with all its sockets. EXPECTED: clients must reach it. FREE: may be
    there or not. OFF: must not run beside what does, and is not ours to stop. FORBIDDEN: a `Host`
    says that it must be off.
    """

    REQUIRED = "required"
    EXPECTED = "expected"
    FREE = "free"
    OFF = "off"
    FORBIDDEN = "forbidden"


def is_named(names: Iterable[str], host: str) -> bool:
    """Whether one of the names is this host's, short or full."""
    return any(one in (host, host.split(".", 1)[0]) for one in names)


def find_host(hosts: Iterable[HostManifest], host: str) -> Optional[HostManifest]:
    """Return the `Host` of this host, if any."""
    return next((one for one in hosts if is_named(one.selector, host)), None)


def detect_mode(view: DaemonsView) -> Optional[Mode]:
    """Return the mode that the host is in; modular where both kinds are switched on."""
    for mode in (Mode.MODULAR, Mode.MONOLITHIC):
        daemon = BY_NAME[MAIN[mode]]
        if is_on(daemon, view):
            return mode
    return None


def is_on(daemon: Daemon, view: DaemonsView) -> bool:
    """Whether a unit of the daemon runs, listens, or starts with the host."""
    return any(view.unit(one).is_on for one in daemon.units)


def find_needs(host: HostManifest, machines: Collection[MachineManifest] = ()) -> Needs:
    """Return what a `Host` and the machines on it want of each daemon."""
    needs = _expect(host.mode or Mode.MODULAR, machines)
    needs.update(dict.fromkeys(host.required, Need.REQUIRED))
    needs.update(dict.fromkeys(host.forbidden, Need.FORBIDDEN))
    return needs


def detect_needs(mode: Mode, machines: Collection[MachineManifest] = ()) -> Needs:
    """Return what is wanted where no `Host` says it: what the mode cannot do without."""
    needs = _expect(mode, machines)
    needs[MAIN[mode]] = Need.EXPECTED
    return needs


def _expect(mode: Mode, machines: Collection[MachineManifest]) -> Dict[str, Need]:
    wanted = {name for one in machines for name in one.required_daemons}
    return {one.name: _plain(one, mode, wanted) for one in DAEMONS}


def _plain(daemon: Daemon, mode: Mode, wanted: Collection[str]) -> Need:
    if daemon.name in wanted:
        return Need.EXPECTED
    return Need.FREE if daemon.mode in (None, mode) else Need.OFF


def users_of(daemon: str, machines: Iterable[MachineManifest]) -> Tuple[str, ...]:
    """Return the machines that require the daemon."""
    return tuple(one.name for one in machines if daemon in one.required_daemons)
