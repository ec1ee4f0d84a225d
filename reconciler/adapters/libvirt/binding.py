"""The only importer of libvirt, and the only place where its errors become ours.

Holds libvirt's constants that we use, opens connections, translates errors. Knows no domain, no
volume and no policy. Importing it loads libvirt's client library (about 50 ms), so nothing on the
start-up path may.
"""

from __future__ import annotations

import json
import operator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Callable, FrozenSet, Iterator, Optional, Tuple, Type

import libvirt  # type: ignore[import-untyped,unused-ignore]  # the binding has no types

from reconciler.errors import (
    MissingError,
    NotFoundError,
    ReconcilerError,
    TerminalError,
    TransientError,
)

if TYPE_CHECKING:
    from reconciler.adapters.libvirt.objects import Connection, Domain

# libvirt prints every error to stderr by default; ours come as one line each, where they belong.
# Its handler must not be written in Python: a signal that came during the call would be handled in
# it, and libvirt's binding makes a SystemError of what is raised there, as of Ctrl-C. This one is
# called with two arguments and does nothing.
libvirt.registerErrorHandler(operator.is_, None)


def _constant(name: str) -> int:
    """Return a constant; 0 (no flag) or an error code that never comes where it is too new."""
    value: int = getattr(libvirt, name, -1 if name.startswith("VIR_ERR_") else 0)
    return value


def _constants(prefix: str, names: str) -> Tuple[int, ...]:
    """Return those of the constants that this libvirt has."""
    found = (getattr(libvirt, f"{prefix}{name}", None) for name in names.split())
    return tuple(constant for constant in found if constant is not None)


NO_SUPPORT = _constant("VIR_ERR_NO_SUPPORT")
NO_DOMAIN = _constant("VIR_ERR_NO_DOMAIN")
NO_POOL = _constant("VIR_ERR_NO_STORAGE_POOL")
NO_VOLUME = _constant("VIR_ERR_NO_STORAGE_VOL")
NO_CONNECT = _constant("VIR_ERR_NO_CONNECT")
NO_SECRET = _constant("VIR_ERR_NO_SECRET")
INVALID_ARG = _constant("VIR_ERR_INVALID_ARG")
OPERATION_TIMEOUT = _constant("VIR_ERR_OPERATION_TIMEOUT")
OPERATION_INVALID = _constant("VIR_ERR_OPERATION_INVALID")
VOLUME_EXISTS = _constant("VIR_ERR_STORAGE_VOL_EXIST")

AGENT_SECONDS = 3  # to wait for the answer of a guest's agent
ALL_CELLS = -1  # VIR_NODE_MEMORY_STATS_ALL_CELLS
XML_INACTIVE = _constant("VIR_DOMAIN_XML_INACTIVE")
XML_SECURE = _constant("VIR_DOMAIN_XML_SECURE")
LIST_AUTOSTART = _constant("VIR_CONNECT_LIST_DOMAINS_AUTOSTART")
LIST_TRANSIENT = _constant("VIR_CONNECT_LIST_DOMAINS_TRANSIENT")
LIST_SAVED = _constant("VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE")
# Neither running nor off: paused, crashed, suspended by the guest itself, shutting down.
LIST_BETWEEN = _constant("VIR_CONNECT_LIST_DOMAINS_PAUSED") | _constant(
    "VIR_CONNECT_LIST_DOMAINS_OTHER"
)
LIST_ACTIVE_POOLS = _constant("VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE")
LIST_INACTIVE_POOLS = _constant("VIR_CONNECT_LIST_STORAGE_POOLS_INACTIVE")
# Sources of virDomainInterfaceAddresses that ask no agent.
ADDRESSES_LEASE = _constant("VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE")
ADDRESSES_ARP = _constant("VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP")
LIST_ACTIVE_NETWORKS = _constant("VIR_CONNECT_LIST_NETWORKS_ACTIVE")
DEFINE_VALIDATE = _constant("VIR_DOMAIN_DEFINE_VALIDATE")
UNDEFINE_NVRAM = _constant("VIR_DOMAIN_UNDEFINE_NVRAM")
UNDEFINE_KEEP_NVRAM = _constant("VIR_DOMAIN_UNDEFINE_KEEP_NVRAM")
UNDEFINE_KEEP_TPM = _constant("VIR_DOMAIN_UNDEFINE_KEEP_TPM")  # since 8.9
UNDEFINE_SAVED = _constant("VIR_DOMAIN_UNDEFINE_MANAGED_SAVE")
UNDEFINE_TPM = _constant("VIR_DOMAIN_UNDEFINE_TPM")  # since 8.9
AFFECT_LIVE = _constant("VIR_DOMAIN_AFFECT_LIVE")
AFFECT_CONFIG = _constant("VIR_DOMAIN_AFFECT_CONFIG")
METADATA_ELEMENT = _constant("VIR_DOMAIN_METADATA_ELEMENT")
SPARSE_UPLOAD = _constant("VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM")
BACKUP_REUSE = _constant("VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL")
JOB_COMPLETED = _constant("VIR_DOMAIN_JOB_STATS_COMPLETED")
ALLOCATE = _constant("VIR_STORAGE_VOL_CREATE_PREALLOC_METADATA")
CONSOLE_FORCE = _constant("VIR_DOMAIN_CONSOLE_FORCE")
CONSOLE_SAFE = _constant("VIR_DOMAIN_CONSOLE_SAFE")
STREAM_NONBLOCK = _constant("VIR_STREAM_NONBLOCK")
STREAM_READABLE = _constant("VIR_STREAM_EVENT_READABLE")
STREAM_WRITABLE = _constant("VIR_STREAM_EVENT_WRITABLE")
STREAM_BROKEN = _constant("VIR_STREAM_EVENT_ERROR") | _constant("VIR_STREAM_EVENT_HANGUP")
FILE_READABLE = _constant("VIR_EVENT_HANDLE_READABLE")
RESIZE_BYTES = _constant("VIR_DOMAIN_BLOCK_RESIZE_BYTES")

# What happens to domains, pools and networks, as far as it can concern a manifest. Numbers that are
# not known to an older libvirt are left out.
DOMAIN_EVENTS = _constants(
    "VIR_DOMAIN_EVENT_ID_",
    "LIFECYCLE DEVICE_ADDED DEVICE_REMOVED DEVICE_REMOVAL_FAILED DISK_CHANGE TRAY_CHANGE "
    "AGENT_LIFECYCLE METADATA_CHANGE PMWAKEUP JOB_COMPLETED BLOCK_JOB_2",
)
# Those after which a guest may show something else.
GUEST_EVENTS = frozenset(
    _constants(
        "VIR_DOMAIN_EVENT_ID_", "LIFECYCLE DEVICE_ADDED DEVICE_REMOVED AGENT_LIFECYCLE PMWAKEUP"
    )
)
DOMAIN_LIFECYCLE = _constant("VIR_DOMAIN_EVENT_ID_LIFECYCLE")
# The event, and its detail, of a domain whose guest runs on another host from now on.
MIGRATED_AWAY = (
    _constant("VIR_DOMAIN_EVENT_STOPPED"),
    _constant("VIR_DOMAIN_EVENT_STOPPED_MIGRATED"),
)
# Not a pool's refresh: we cause it ourselves, and to answer our own doing would never end.
POOL_EVENTS = _constants("VIR_STORAGE_POOL_EVENT_ID_", "LIFECYCLE")
NETWORK_EVENTS = _constants("VIR_NETWORK_EVENT_ID_", "LIFECYCLE")
_CLOSE_REASONS = ("error", "end of file", "keepalive timeout", "closed by us")

# A connection that broke. The pairs are those by which Nova and vdsm know one
# (nova/virt/libvirt/host.py, vdsm libvirtconnection.py).
_BROKEN_DOMAINS = frozenset({_constant("VIR_FROM_RPC"), _constant("VIR_FROM_REMOTE")})
_BROKEN_CODES = frozenset({_constant("VIR_ERR_SYSTEM_ERROR"), _constant("VIR_ERR_INTERNAL_ERROR")})


def _codes(names: str) -> FrozenSet[int]:
    """Return the error codes of these names."""
    return frozenset(_constant(f"VIR_ERR_{name}") for name in names.split())


# What only the manifest or the domain itself can change: libvirt does not understand it, or this
# libvirt, QEMU or processor cannot do it. Everything else may be mended by the world around.
_TERMINAL_CODES = _codes(
    "NO_SUPPORT INVALID_ARG OS_TYPE XML_ERROR XML_DETAIL XML_INVALID_SCHEMA CONF_SYNTAX "
    "CONFIG_UNSUPPORTED ARGUMENT_UNSUPPORTED OPERATION_UNSUPPORTED CPU_INCOMPATIBLE INVALID_MAC "
    "PARSE_FAILED OVERFLOW NO_DOMAIN_METADATA RPC"
)
# Something of the host that is not there, or is taken, now.
_MISSING_CODES = _codes(
    "NO_NETWORK NO_STORAGE_POOL NO_STORAGE_VOL NO_NODE_DEVICE NO_INTERFACE NO_SECRET NO_NWFILTER "
    "NO_MEMORY RESOURCE_BUSY"
)
# libvirt reports most of it by a code that means anything (system or internal error), and by the
# C library's words, or by QEMU's: a bridge, an ISO, memory, space, a lock that another QEMU holds.
_MISSING_WORDS = (
    "No such device",
    "No such file or directory",
    "Cannot allocate memory",
    "cannot allocate memory",
    "Device or resource busy",
    "Resource temporarily unavailable",
    "No space left on device",
    "Failed to get ",  # "write" lock, shared "write" lock, "consistent read" lock
)
# What libvirt does at the moment, by whatever code.
_BUSY_WORDS = ("active block job", "state change lock", "active backup job")
_STATE_CODE = _constant("VIR_ERR_OPERATION_INVALID")
_MISSING_STATES = frozenset({_constant("VIR_FROM_NETWORK"), _constant("VIR_FROM_STORAGE")})
# What QEMU says of a command line that it will never take, behind libvirt's internal error.
_REFUSED_WORDS = (
    ": invalid option",
    "is not a valid device model name",
    "unsupported machine type",
    ": Property '",
)


# The agent does not answer; since libvirt 11.2 a command that took too long has a code of its own.
_SILENT_CODES = _codes("AGENT_UNRESPONSIVE AGENT_UNSYNCED AGENT_COMMAND_TIMEOUT") - {-1}
# It answered with an error, which libvirt before 11.2 reports as an internal one.
_AGENT_CODES = _codes("INTERNAL_ERROR AGENT_COMMAND_FAILED") - {-1}


def open_connection(uri: Optional[str]) -> Connection:
    """Open a connection; None is what libvirt's own tools would use. Errors are not translated.

    Read-write, because the XML with secrets (VIR_DOMAIN_XML_SECURE) is refused to readers.
    """
    connection: Connection = libvirt.open(uri)
    return connection


class AgentSilentError(TransientError):
    """A guest's agent is not connected, or did not answer in time."""


class AgentBusyError(TransientError):
    """Another program has been using a guest's agent for a long time."""


class AgentRefusedError(TransientError):
    """A guest's agent answered that it cannot, or may not, do it; the text is its reason."""


def ask_agent(domain: Domain, command: str, **arguments: object) -> object:
    """Return what the guest's agent answers to a command, within some seconds.

    Before an agent that was silent is asked again, libvirt waits for it 5 s by itself. Raises
    AgentSilentError, AgentBusyError, AgentRefusedError, and libvirt's own error for all else.
    """
    import libvirt_qemu  # type: ignore[import-untyped,unused-ignore]  # noqa: PLC0415 - rarely used

    asked = json.dumps({"execute": command, "arguments": arguments})
    try:
        answer = libvirt_qemu.qemuAgentCommand(domain, asked, AGENT_SECONDS, 0)
    except libvirt.libvirtError as error:
        code, text = error.get_error_code(), message_of(error)
        if code in _SILENT_CODES:
            raise AgentSilentError(text) from error
        if code == OPERATION_TIMEOUT:
            raise AgentBusyError(text) from error
        if code in _AGENT_CODES and not is_broken(error):
            raise AgentRefusedError(text.rpartition(f"'{command}': ")[2]) from error
        raise
    found: object = json.loads(answer).get("return")
    return found


def register_event_loop() -> None:
    """Use libvirt's own event loop; before the first connection, and once in a process."""
    libvirt.virEventRegisterDefaultImpl()


def run_events_once() -> None:
    """Wait for events and hand them out; to be called for ever."""
    libvirt.virEventRunDefaultImpl()


def watch_file(number: int, call: Callable[[], None]) -> int:
    """Have the event loop call when a file can be read or was closed; return what to stop it by."""
    watch: int = libvirt.virEventAddHandle(number, FILE_READABLE, lambda *_: call(), None)
    return watch


def stop_watching(watch: int) -> None:
    """Have the event loop call no more."""
    libvirt.virEventRemoveHandle(watch)


def keep_alive(connection: Connection, interval: int, count: int) -> None:
    """Have a hung daemon noticed; drivers without a daemon (test) have nothing to notice."""
    try:
        connection.setKeepAlive(interval, count)
    except libvirt.libvirtError as error:
        if error.get_error_code() != NO_SUPPORT:
            raise


def close_reason(reason: int) -> str:
    """Return why a connection was closed (virConnectCloseReason)."""
    known = 0 <= reason < len(_CLOSE_REASONS)
    return _CLOSE_REASONS[reason] if known else str(reason)


@contextmanager
def calling(doing: str, *absent: int) -> Iterator[None]:
    """Translate the errors of the libvirt calls within; `doing` says to whom they happened.

    `absent` are the codes that mean that the very object is not there. That they are named by each
    caller is what keeps a start that fails for want of a network from looking like a lost domain.
    """
    try:
        yield
    except libvirt.libvirtError as error:
        raise translate(error, doing, frozenset(absent)) from error


def translate(error: Any, doing: str, absent: FrozenSet[int] = frozenset()) -> ReconcilerError:
    """Return our error for one of libvirt's."""
    code, text = error.get_error_code(), message_of(error)
    return _find_type(error, code, text, absent)(f"{doing}: {text}")


def _find_type(error: Any, code: int, text: str, absent: FrozenSet[int]) -> Type[ReconcilerError]:
    """Return what kind of error it is; what is not known to last is tried again."""
    if code in absent:
        return NotFoundError
    if any(words in text for words in _BUSY_WORDS):
        return TransientError
    if code in _TERMINAL_CODES or any(words in text for words in _REFUSED_WORDS):
        return TerminalError
    if is_broken(error):
        return TransientError
    if code == _STATE_CODE:  # "network 'x' is not active"
        is_missing = error.get_error_domain() in _MISSING_STATES
    else:
        is_missing = code in _MISSING_CODES or any(words in text for words in _MISSING_WORDS)
    return MissingError if is_missing else TransientError


def is_broken(error: BaseException) -> bool:
    """Whether the way to libvirt failed, not what was asked of it."""
    return (
        isinstance(error, libvirt.libvirtError)
        and error.get_error_domain() in _BROKEN_DOMAINS
        and error.get_error_code() in _BROKEN_CODES
    )


def code_of(error: Optional[BaseException]) -> Optional[int]:
    """Return libvirt's code of an error, or of the one that ours was translated from."""
    if isinstance(error, libvirt.libvirtError):
        code: int = error.get_error_code()
        return code
    return None if error is None else code_of(error.__cause__)


def message_of(error: Any) -> str:
    """Return libvirt's message as one line."""
    lines = (error.get_error_message() or str(error)).split("\n")
    return "; ".join(line.strip(" ;") for line in lines if line.strip(" ;"))


Error: Type[Exception] = libvirt.libvirtError
"""libvirt's own error, for the few callers that decide by its code."""
