"""Stand-ins for libvirt's modular daemons in the container, made of Debian's libvirtd.

Each has a socket at its modular path that starts it and stays when it exits idle, as on Rocky 9.
The unit files follow libvirt's src/remote/virtqemud.service.in; only the program is another. Each but
virtqemud has state of its own, because two libvirtd cannot share QEMU's: so what they show of
networks and pools is nothing that virtqemud knows.
"""

from __future__ import annotations

from tests.lab.container import Container

DRIVERS = ("virtqemud", "virtnetworkd", "virtstoraged")
UNITS = "/usr/lib/systemd/system"  # where packages have them, so that they can be masked
LEGACY = (
    "libvirtd.service",
    "libvirtd.socket",
    "libvirtd-ro.socket",
    "libvirtd-admin.socket",
)

# Debian's libvirtd knows its sockets by these names.
_NAMES = {"": "libvirtd.socket", "-ro": "libvirtd-ro.socket", "-admin": "libvirtd-admin.socket"}
_PATHS = {"": "sock", "-ro": "sock-ro", "-admin": "admin-sock"}

SOCKET = """\
[Unit]
Description={daemon}{side} socket
{binds}
[Socket]
ListenStream=/run/libvirt/{daemon}-{path}
SocketMode={mode}
FileDescriptorName={name}
Service={daemon}.service
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
"""
SERVICE = """\
[Unit]
Description={daemon} stand-in
Conflicts=libvirtd.service
StartLimitIntervalSec=0
Requires={daemon}.socket {daemon}-ro.socket {daemon}-admin.socket virtlogd.socket
After={daemon}.socket {daemon}-ro.socket {daemon}-admin.socket virtlogd.socket

[Service]
Type=notify
ExecStart=/usr/sbin/libvirtd --timeout {timeout} --pid-file /run/{daemon}.pid
KillMode=process
{own}
[Install]
WantedBy=multi-user.target
Also={daemon}.socket {daemon}-ro.socket {daemon}-admin.socket
"""
OWN_STATE = "TemporaryFileSystem=/run/libvirt /var/lib/libvirt /var/cache/libvirt\n"


def write_units(machine: Container, timeout: int = 120) -> None:
    """Write the stand-ins' unit files; nothing is enabled or started."""
    for daemon in DRIVERS:
        own = "" if daemon == DRIVERS[0] else OWN_STATE
        machine.write(
            f"{UNITS}/{daemon}.service", SERVICE.format(daemon=daemon, timeout=timeout, own=own)
        )
        for side, path in _PATHS.items():
            binds = f"BindsTo={daemon}.socket\nAfter={daemon}.socket\n" if side else ""
            text = SOCKET.format(
                daemon=daemon,
                side=side,
                binds=binds,
                path=path,
                mode="0600" if side == "-admin" else "0666",
                name=_NAMES[side],
            )
            machine.write(f"{UNITS}/{daemon}{side}.socket", text)
    machine.systemctl("daemon-reload")


def sockets(daemon: str) -> tuple[str, str, str]:
    """Return the units of a stand-in's sockets."""
    return (f"{daemon}.socket", f"{daemon}-ro.socket", f"{daemon}-admin.socket")


def make_modular(machine: Container) -> None:
    """Switch libvirtd off, and the stand-ins and virtlogd on, each idle behind its socket."""
    _make_plain(machine)
    names = [unit for daemon in DRIVERS for unit in sockets(daemon)]
    machine.systemctl("enable", "--now", "virtlogd.socket", "virtlogd-admin.socket", *names)


def make_monolithic(machine: Container) -> None:
    """Switch the stand-ins off, and libvirtd on."""
    _make_plain(machine)
    machine.systemctl("enable", "--now", "virtlogd.socket", *LEGACY)


def _make_plain(machine: Container) -> None:
    """Switch everything off, and forget what was masked, failed or put beside a unit."""
    names = [unit for daemon in DRIVERS for unit in (*sockets(daemon), f"{daemon}.service")]
    machine.run("sh", "-c", "rm -rf /run/systemd/system/virt*.d /run/systemd/system/libvirt*.d")
    machine.systemctl("unmask", "-q", *LEGACY)
    machine.systemctl("unmask", "-q", "--runtime", *names)
    machine.systemctl("daemon-reload")
    machine.systemctl("disable", "--now", "-q", *LEGACY, *names)
    machine.systemctl("reset-failed")
