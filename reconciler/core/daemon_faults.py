"""What each of libvirt's daemons should be, what is wrong with its units, and the remedy. Pure."""

from __future__ import annotations

from enum import Enum
from typing import Collection, Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

from reconciler.core.frozen import frozen
from reconciler.core.libvirt_daemons import (
    BY_NAME,
    DAEMONS,
    MAIN,
    DaemonsView,
    LibvirtDaemon,
    Mode,
    Socket,
    Unit,
    Verb,
)
from reconciler.core.manifest import HostManifest, MachineManifest, is_named

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


def find_host(hosts: Iterable[HostManifest], host: str) -> Optional[HostManifest]:
    """Return the `Host` of this host, if any."""
    return next((manifest for manifest in hosts if is_named(manifest.selector, host)), None)


def detect_mode(view: DaemonsView) -> Optional[Mode]:
    """Return the mode that the host is in; modular where both kinds are switched on."""
    for mode in (Mode.MODULAR, Mode.MONOLITHIC):
        daemon = BY_NAME[MAIN[mode]]
        if is_on(daemon, view):
            return mode
    return None


def is_on(daemon: LibvirtDaemon, view: DaemonsView) -> bool:
    """Whether a unit of the daemon runs, listens, or starts with the host."""
    return any(view.unit(unit).is_on for unit in daemon.units)


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
    wanted = {name for machine in machines for name in machine.required_daemons}
    return {daemon.name: _plain(daemon, mode, wanted) for daemon in DAEMONS}


def _plain(daemon: LibvirtDaemon, mode: Mode, wanted: Collection[str]) -> Need:
    if daemon.name in wanted:
        return Need.EXPECTED
    return Need.FREE if daemon.mode in (None, mode) else Need.OFF


def users_of(daemon: str, machines: Iterable[MachineManifest]) -> Tuple[str, ...]:
    """Return the machines that require the daemon."""
    return tuple(machine.name for machine in machines if daemon in machine.required_daemons)


STRICT = (Need.REQUIRED,)


@frozen
class Fault:
    """One thing that is wrong with a unit.

    `field` names it in a plan. `fix` is what would put it right, empty where a person has to.
    `hinders` says that clients cannot be served.
    """

    field: str
    unit: str
    observed: str
    desired: str
    reason: str
    advice: str
    fix: Tuple[Verb, ...] = ()
    hinders: bool = True


def describe_unit(unit: Unit, *, is_socket: bool) -> str:
    """Return like `enabled, listening` or `disabled, stopped`."""
    if not unit.is_there:
        return "not installed"
    if unit.is_failed:
        activity = "failed" if unit.result in ("", "success") else f"failed ({unit.result})"
    elif unit.is_active:
        running = "listening" if is_socket else "running"
        activity = running if unit.active == "active" else unit.active
    else:
        activity = "stopped"
    kept = "masked" if unit.is_masked else unit.enabled
    return f"{kept}, {activity}" if kept else activity


def find_on(daemon: LibvirtDaemon, need: Need, view: DaemonsView) -> Iterator[Fault]:
    """Yield the units that run or start with the host, of a daemon that must be off."""
    running = [unit for unit in daemon.units if view.unit(unit).is_on]
    for unit in running:
        state, field = view.unit(unit), _field(daemon, unit)
        observed = describe_unit(state, is_socket=unit.endswith(".socket"))
        advice = f"systemctl disable --now {unit}"
        if need is Need.FORBIDDEN:
            reason, desired, fix = f"{unit}: a Host forbids it", "masked", _off(state)
            yield Fault(field, unit, observed, desired, reason, advice, fix)
        else:
            reason, desired = f"{unit}: the host's mode does not use it", "off"
            yield Fault(field, unit, observed, desired, reason, advice)
    if running and need is Need.FORBIDDEN and daemon.service not in running:
        yield from _mask_service(daemon, view)


def _field(daemon: LibvirtDaemon, unit: str) -> str:
    """Return a unit's name in a plan: `service`, `roSocket`, `tcpSocket`."""
    if unit == daemon.service:
        return "service"
    known = {socket.unit: socket.field for socket in daemon.sockets}
    side = unit[len(daemon.name) :].partition(".")[0].lstrip("-")
    return known.get(unit, f"{side}Socket")


def _mask_service(daemon: LibvirtDaemon, view: DaemonsView) -> Iterator[Fault]:
    """Yield that the service, which is off, could be started again as it was before."""
    service, name = view.unit(daemon.service), daemon.service
    if service.is_usable:
        observed = describe_unit(service, is_socket=False)
        reason = f"{name}: so that nothing starts it again"
        fix = (Verb.MASK,)
        yield Fault(
            field="service",
            unit=name,
            observed=observed,
            desired="masked",
            reason=reason,
            advice=f"systemctl mask {name}",
            fix=fix,
        )


def _off(unit: Unit) -> Tuple[Verb, ...]:
    stop = (Verb.STOP,) if unit.is_active else ()
    disable = (Verb.DISABLE,) if unit.enabled else ()
    return (*stop, *disable, Verb.MASK)


def find_faults(daemon: LibvirtDaemon, need: Need, view: DaemonsView) -> List[Fault]:
    """Return what is wrong with a daemon that is to serve clients."""
    main, service = view.unit(daemon.socket.unit), view.unit(daemon.service)
    if not main.is_there and not service.is_there:
        return [_not_installed(daemon)]
    if not main.is_usable and service.is_usable and service.is_on:
        return list(_find_socketless(daemon, view))  # it listens by itself, as it used to
    faults = list(_find_socket_faults(daemon, daemon.socket, view))
    if need is Need.FREE:
        faults = [
            fault for fault in faults if fault.hinders
        ]  # what another daemon pulls in may be so
    for side in daemon.sides if need in STRICT else ():
        if view.unit(side.unit).is_usable:  # masking one of these is a person's choice
            faults.extend(_find_socket_faults(daemon, side, view))
    return [*faults, *_find_service_faults(daemon, view), *find_other(daemon, view)]


def find_hindrance(daemon: LibvirtDaemon, view: DaemonsView) -> str:
    """Say why clients cannot be served by the daemon; empty if they can."""
    faults = find_faults(daemon, Need.EXPECTED, view)
    return "; ".join(f"{fault.reason} ({fault.advice})" for fault in faults if fault.hinders)


def _not_installed(daemon: LibvirtDaemon) -> Fault:
    unit = daemon.socket.unit
    advice = f"install the package that provides it: dnf provides '*/{unit}'"
    return Fault(
        field="socket",
        unit=unit,
        observed="not installed",
        desired="listening",
        reason=f"{daemon.name} is not installed",
        advice=advice,
    )


def _find_socketless(daemon: LibvirtDaemon, view: DaemonsView) -> Iterator[Fault]:
    service = view.unit(daemon.service)
    observed = describe_unit(service, is_socket=False)
    name = daemon.service
    if service.is_failed:
        yield from _find_service_faults(daemon, view)
    elif not service.is_active:
        reason = f"{name} is stopped, and no socket starts it"
        advice = f"systemctl start {name}"
        yield Fault(
            field="service",
            unit=name,
            observed=observed,
            desired="running",
            reason=reason,
            advice=advice,
            fix=(Verb.START,),
        )
    elif daemon.socket.path not in view.listening:
        yield _deaf(Socket("service", name, daemon.socket.path), observed)
    if service.is_active and not service.is_enabled:
        yield _not_enabled("service", name, observed, "running")
    yield from find_other(daemon, view)


def _find_socket_faults(
    daemon: LibvirtDaemon, socket: Socket, view: DaemonsView
) -> Iterator[Fault]:
    unit, name = view.unit(socket.unit), socket.unit
    observed = describe_unit(unit, is_socket=True)
    desired = "enabled, listening"
    if not unit.is_there:
        reason, advice = f"{name} is not installed", "install it"
        yield Fault(socket.field, socket.unit, observed, desired, reason, advice)
    elif unit.is_masked:
        reason, advice = f"{name} was masked", f"systemctl unmask {name}, if that is what you want"
        yield Fault(socket.field, socket.unit, observed, desired, reason, advice)
    elif not unit.is_active:
        yield _stopped(daemon, socket, view)
    elif socket.path not in view.listening:
        yield _deaf(socket, observed)
    elif not (unit.is_enabled or view.unit(daemon.service).is_enabled):
        yield _not_enabled(socket.field, name, observed, desired)


def _stopped(daemon: LibvirtDaemon, socket: Socket, view: DaemonsView) -> Fault:
    unit, name = view.unit(socket.unit), socket.unit
    observed, desired = describe_unit(unit, is_socket=True), "enabled, listening"
    if view.unit(daemon.service).is_active:
        # systemd refuses that: the service is active already.
        reason = f"{name} is stopped while {daemon.service} runs, so systemd would not start it"
        advice = f"systemctl stop {daemon.service} && systemctl start {name}"
        return Fault(socket.field, socket.unit, observed, desired, reason, advice)
    enable = () if unit.is_enabled else (Verb.ENABLE,)
    reset = (Verb.RESET,) if unit.is_failed else ()
    reason = f"{name} {'failed' if unit.is_failed else 'is stopped'}"
    advice = f"systemctl {'enable --now' if enable else 'start'} {name}"
    fix = (*reset, *enable, Verb.START)
    return Fault(socket.field, socket.unit, observed, desired, reason, advice, fix)


def _deaf(socket: Socket, observed: str) -> Fault:
    desired = "listening"
    reason = f"no process listens at {socket.path}, although {socket.unit} is active"
    advice = f"systemctl restart {socket.unit}"
    return Fault(socket.field, socket.unit, observed, desired, reason, advice)


def _not_enabled(field: str, unit: str, observed: str, desired: str) -> Fault:
    reason = f"{unit} is not enabled, so it does not start with the host"
    advice, fix = f"systemctl enable {unit}", (Verb.ENABLE,)
    return Fault(field, unit, observed, desired, reason, advice, fix, hinders=False)


def _find_service_faults(daemon: LibvirtDaemon, view: DaemonsView) -> Iterator[Fault]:
    service, name = view.unit(daemon.service), daemon.service
    observed = describe_unit(service, is_socket=False)
    wanted = "running, or idle"
    if not service.is_there:
        yield Fault(
            field="service",
            unit=name,
            observed=observed,
            desired=wanted,
            reason=f"{name} is not installed",
            advice="install it",
        )
    elif service.is_masked:
        reason = f"{name} was masked, so its socket cannot start it"
        advice = f"systemctl unmask {name}, if that is what you want"
        yield Fault(
            field="service",
            unit=name,
            observed=observed,
            desired=wanted,
            reason=reason,
            advice=advice,
        )
    elif service.is_failed:
        reason = f"{name} failed ({service.result})"
        advice = f"see journalctl -u {name}, then systemctl restart {name}"
        yield Fault(
            field="service",
            unit=name,
            observed=observed,
            desired=wanted,
            reason=reason,
            advice=advice,
            fix=(Verb.RESET, Verb.START),
        )


def find_other(daemon: LibvirtDaemon, view: DaemonsView) -> Iterator[Fault]:
    """Yield who answers instead of the daemon."""
    path = daemon.socket.path
    answer = view.answers.get(path)
    if answer is not None and answer.refused:
        advice = f"see journalctl -u {daemon.service}"
        yield Fault(
            field="answers",
            unit=daemon.service,
            observed="nobody",
            desired=daemon.service,
            reason=answer.problem,
            advice=advice,
        )
    if answer is None or answer.problem or answer.unit == daemon.service:
        return
    who = answer.unit or f"process {answer.pid} ({answer.process}), which belongs to no unit,"
    reason = f"{who} answers at {path}"
    advice = f"stop what took the socket, then systemctl restart {daemon.socket.unit}"
    yield Fault(
        field="answers",
        unit=daemon.service,
        observed=who,
        desired=daemon.service,
        reason=reason,
        advice=advice,
    )
