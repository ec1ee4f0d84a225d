"""libvirt's daemons as systemd and the kernel show them. Implements `ports.Units`."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Dict,
    FrozenSet,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from reconciler.adapters.clock import SYSTEM_CLOCK
from reconciler.core.frozen import regex
from reconciler.core.libvirt_daemons import (
    ALL_UNITS,
    DAEMONS,
    DEFAULT_ROOT,
    DEFAULT_USER,
    LEGACY,
    DaemonsView,
    SocketAnswer,
    Unit,
    Verb,
    find_socket,
    find_uri,
)
from reconciler.core.world import Unknown
from reconciler.errors import ReconcilerError, TerminalError, TransientError

if TYPE_CHECKING:
    import socket

LIMIT = 15.0  # seconds; a daemon may first have to start and to look at its pools
POLL = 0.1  # seconds
AS_ROOT = "run as root to see who answers"
# Netid State Recv-Q Send-Q Local Inode Peer Inode [users:((…))]
_ROW = regex(r"^u_str\s+\S+\s+\d+\s+\d+\s+.*?\s(\d+)\s+\S+\s+(\d+)\s*(?:users:\((.*)\))?\s*$")
_USER = regex(r'\("([^"]*)",pid=(\d+),fd=\d+\)')
_UNIT = regex(r"/([^/]+\.(?:service|scope))(?=/|$)")
_INIT = 1


def ask(path: str) -> SocketAnswer:
    """Connect, see who accepted, and hang up without a word."""
    import socket  # noqa: PLC0415 - start-up time

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(LIMIT)
        try:
            connection.connect(path)
            return _find_peer(connection, path)
        except PermissionError:
            return SocketAnswer(problem=AS_ROOT)
        except OSError as error:
            return SocketAnswer(problem=f"{path}: {error.strerror or error}", refused=True)


def _find_peer(connection: socket.socket, path: str) -> SocketAnswer:
    """Wait until a process has the other end; before it is accepted, nobody has."""
    inode = os.fstat(connection.fileno()).st_ino
    deadline = SYSTEM_CLOCK.now() + LIMIT
    while True:
        rows = _list_sockets()
        if rows is None:
            return SocketAnswer(problem="ss (package iproute) is needed to see who answers")
        found = find_user(rows, inode)
        if found is not None:
            process, pid = found
            return SocketAnswer(_unit_of(pid), process, pid)
        if os.geteuid() != 0:
            return SocketAnswer(problem=AS_ROOT)
        if _is_hung_up(connection):
            return SocketAnswer(problem=f"{path}: the connection was closed", refused=True)
        if SYSTEM_CLOCK.now() > deadline:
            words = f"{path}: no process accepted a connection within {LIMIT:.0f} s"
            return SocketAnswer(problem=words, refused=True)
        SYSTEM_CLOCK.sleep(POLL)


def _is_hung_up(connection: socket.socket) -> bool:
    """Whether the other end was closed: systemd does so when the daemon cannot be started."""
    import select  # noqa: PLC0415 - start-up time

    return bool(select.select([connection], [], [], 0)[0])  # a libvirt daemon never speaks first


def _list_sockets() -> Optional[str]:
    import subprocess  # noqa: PLC0415 - start-up time

    try:
        return subprocess.run(
            ["ss", "-xpH"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None


def find_user(rows: str, inode: int) -> Optional[Tuple[str, int]]:
    """Return name and number of the process at the other end of our socket, of `ss` rows."""
    for row in rows.splitlines():
        match = _ROW.match(row)
        if match and int(match.group(2)) == inode:
            users = [(name, int(pid)) for name, pid in _USER.findall(match.group(3) or "")]
            return next((user for user in users if user[1] != _INIT), None)
    return None


def _unit_of(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return find_unit(text)


def find_unit(cgroups: str) -> str:
    """Return the unit that a process's cgroups name; of none it is empty."""
    for line in cgroups.splitlines():
        number, name, path = [*line.split(":", 2), "", ""][:3]
        if number == "0" or name == "name=systemd":
            units = _UNIT.findall(path)
            if units:
                return str(units[0])
    return ""


_DEFAULT = regex(r"""^\s*uri_default\s*=\s*["']([^"']+)["']""", re.MULTILINE)


def read_uri(given: Optional[str], environ: Mapping[str, str]) -> str:
    """Return the URI in use, as far as it can be known without connecting."""
    is_root = os.geteuid() == 0
    home = environ.get("XDG_CONFIG_HOME") or os.path.join(environ.get("HOME", "/"), ".config")
    folder = "/etc/libvirt" if is_root else os.path.join(home, "libvirt")
    return find_uri(
        given, environ.get("LIBVIRT_DEFAULT_URI"), _read_configured(Path(folder)), is_root=is_root
    )


def chooses_session(environ: Mapping[str, str]) -> bool:
    """Whether libvirt, unasked, takes this user's own host where there is one for all."""
    if read_uri(None, environ) != DEFAULT_USER:
        return False
    return any(os.path.exists(path) for path in (find_socket(DEFAULT_ROOT, os.path.exists), LEGACY))


def _read_configured(folder: Path) -> Optional[str]:
    try:
        text = (folder / "libvirt.conf").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    match = _DEFAULT.search(text)
    return match.group(1) if match else None


_SOCKETS = Path("/proc/self/net/unix")
_ACCEPTS = 0x10000  # __SO_ACCEPTCON, among the flags of a row
_COLUMNS = 8  # those before and with the path, which may hold spaces
# QEMU's state, by either daemon: NAME.xml is there while the guest is, NAME.pid its process.
_GUESTS = Path("/run/libvirt/qemu")


def read_listening() -> FrozenSet[str]:
    """Return the paths that somebody listens at. Raises TransientError if that cannot be seen."""
    try:
        return frozenset(_listening(_SOCKETS.read_text(encoding="utf-8", errors="replace")))
    except OSError as error:
        raise TransientError(f"the listening processes cannot be listed: {error}") from error


def _listening(text: str) -> Iterator[str]:
    for line in text.splitlines()[1:]:
        columns = line.split(None, _COLUMNS - 1)
        if len(columns) == _COLUMNS and int(columns[3], 16) & _ACCEPTS:
            yield columns[-1].replace("/var/run/", "/run/", 1)


def read_guests() -> Optional[Tuple[str, ...]]:
    """Return the names of the guests that run; None if that cannot be seen."""
    try:
        names = sorted(
            file[: -len(".xml")] for file in os.listdir(_GUESTS) if file.endswith(".xml")
        )
    except FileNotFoundError:
        return ()
    except OSError:
        return None
    return tuple(name for name in names if not _has_ended(name))


def _has_ended(name: str) -> bool:
    """Whether it is certain that the guest's process is gone; in doubt it runs."""
    try:
        pid = int((_GUESTS / f"{name}.pid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return False
    return not Path(f"/proc/{pid}").exists()


BOOTED = "/run/systemd/system"  # sd_booted(3)
SHOW_LIMIT = 10.0  # seconds
CHANGE_LIMIT = 120.0  # seconds; systemd gives a service 90 to start
# What polkit is asked without the unit's name. For whom it is to allow only some units, the package
# has a service for each, `virt-reconciler-enable@UNIT.service`, which is started by name.
_BY_SERVICE = frozenset({Verb.ENABLE, Verb.DISABLE, Verb.MASK})
_FIELDS = ("Id", "LoadState", "ActiveState", "UnitFileState", "Result")


def is_there() -> bool:
    """Whether this host was booted with systemd."""
    return os.path.isdir(BOOTED)


def show(names: Sequence[str]) -> Mapping[str, Unit]:
    """Return the state of units. Raises TransientError if systemd does not say."""
    text = _run(["show", "-p", ",".join(_FIELDS), "--", *names], SHOW_LIMIT)
    blocks = [_fields(word) for word in text.split("\n\n") if word.strip()]
    return {block["Id"]: _unit(block) for block in blocks if "Id" in block}


def change(verb: Verb, units: Tuple[str, ...]) -> None:
    """Do one thing to units. Raises TerminalError with systemd's reason."""
    words = [verb.value, "--", *units]
    if verb in _BY_SERVICE and os.geteuid() != 0:
        words = ["start", "--", *(f"virt-reconciler-{verb.value}@{unit}.service" for unit in units)]
    _run(["--no-ask-password", *words], CHANGE_LIMIT)


def _fields(block: str) -> Dict[str, str]:
    pairs = (line.partition("=") for line in block.splitlines())
    return {key: value for key, _, value in pairs}


def _unit(fields: Mapping[str, str]) -> Unit:
    load, active = fields.get("LoadState", ""), fields.get("ActiveState", "")
    return Unit(load, active, fields.get("UnitFileState", ""), fields.get("Result", ""))


def _run(words: List[str], limit: float) -> str:
    import subprocess  # noqa: PLC0415 - start-up time

    told = f"systemctl {' '.join(word for word in words if not word.startswith('-'))}"
    try:
        done = subprocess.run(
            ["systemctl", "--no-pager", *words],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit,
            check=False,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C", "SYSTEMD_COLORS": "0"},
        )
    except subprocess.TimeoutExpired as error:
        raise TransientError(f"{told}: no answer within {limit:.0f} s") from error
    except OSError as error:
        raise TransientError(f"{told}: {error}") from error
    if done.returncode:
        why = " ".join(done.stderr.split()) or f"exit status {done.returncode}"
        raise (TransientError if words[0] == "show" else TerminalError)(f"{told}: {why}")
    return done.stdout


_PATHS = frozenset(daemon.socket.path for daemon in DAEMONS)


class SystemdUnits:
    """The daemons of this host, for those who reach it at `uri` (None: libvirt's own choice)."""

    def __init__(self, uri: Optional[str], environ: Mapping[str, str]) -> None:
        """Keep what is needed to know where a client goes; nothing is read yet."""
        self._uri = uri
        self._environ = environ

    def observe(self) -> Union[DaemonsView, Unknown]:
        """Read every unit; Unknown for another host, another socket, or without systemd."""
        uri = read_uri(self._uri, self._environ)
        try:
            client = find_socket(uri, os.path.exists)
            if client not in _PATHS:
                return Unknown(
                    f"{uri} goes to {client}, which does not belong to a daemon of the system"
                )
            if not is_there():
                return Unknown("systemd does not run here")
            units, listening = show(ALL_UNITS), read_listening()
        except ReconcilerError as error:
            return Unknown(str(error))
        return DaemonsView(
            host=os.uname().nodename,
            uri=uri,
            client=client,
            units=units,
            listening=listening,
            guests=read_guests(),
        )

    def ask(self, path: str) -> SocketAnswer:
        """Connect to a socket as a client would, and see who accepts."""
        return ask(path)

    def change(self, verb: Verb, units: Tuple[str, ...]) -> None:
        """Do one thing to units, and wait until it is done."""
        change(verb, units)
