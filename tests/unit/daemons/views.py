"""Hosts as systemd would describe them, for tests to change one thing in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Dict, Iterable

from reconciler.core.libvirt_daemons import BY_NAME, DAEMONS, DaemonsView, Mode, Unit
from reconciler.core.machine import Machine
from reconciler.core.manifest import HostManifest, MachineManifest, Place

PLACE = Place("host.yaml", 1, 1)
IDLE = Unit("loaded", "inactive", "disabled")
LISTENING = Unit("loaded", "active", "enabled")
DRIVERS = ("virtqemud", "virtnetworkd", "virtstoraged")


def installed(*names: str) -> Dict[str, Unit]:
    """Return the units of daemons that are installed and off."""
    return {unit: IDLE for name in names for unit in BY_NAME[name].units}


def behind_sockets(*names: str) -> Dict[str, Unit]:
    """Return the units of daemons that are idle behind their sockets."""
    units = installed(*names)
    for name in names:
        units.update({socket.unit: LISTENING for socket in BY_NAME[name].sockets})
    return units


def view(units: Dict[str, Unit], **more: Any) -> DaemonsView:
    """Return a host with these units; active sockets listen."""
    paths = {socket.unit: socket.path for each in DAEMONS for socket in each.sockets}
    listening = frozenset(path for name, path in paths.items() if units.get(name, Unit()).is_active)
    client = "/run/libvirt/virtqemud-sock"
    plain = DaemonsView("kvm01", "qemu:///system", client, units, listening)
    return replace(plain, **more)


def modular(**changed: Unit) -> DaemonsView:
    """Return Rocky 9 as it should be; `changed` are units by name with `_` for dots and dashes."""
    units = {**behind_sockets(*DRIVERS, "virtlogd"), **installed("virtlockd", "libvirtd")}
    return view(change(units, changed))


def monolithic(**changed: Unit) -> DaemonsView:
    """Return a host with libvirtd alone."""
    units = behind_sockets("libvirtd", "virtlogd")
    units["libvirtd.service"] = LISTENING
    return view(change(units, changed), client="/run/libvirt/libvirt-sock")


def change(units: Dict[str, Unit], changed: Dict[str, Unit]) -> Dict[str, Unit]:
    """Replace some units; a name that is none of them is a mistake in the test."""
    known = {
        unit.replace(".", "_").replace("-", "_"): unit
        for daemon in DAEMONS
        for unit in daemon.units
    }
    return {**units, **{known[name]: unit for name, unit in changed.items()}}


def host(**fields: Any) -> HostManifest:
    """Return a Host that ensures a modular host."""
    plain = HostManifest("kvm01", PLACE, ("kvm01",), Mode.MODULAR, DRIVERS, ("libvirtd",), True)
    return replace(plain, **fields)


def machine(name: str = "vm", daemons: Iterable[str] = ()) -> MachineManifest:
    """Return a machine that requires daemons."""
    return MachineManifest(Machine(name), "g", "{}", PLACE, required_daemons=tuple(daemons))
