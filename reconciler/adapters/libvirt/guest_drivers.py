"""Ask a guest's agent for the driver of a bus: which it is, and whether the system starts it.

A Windows names its drivers; of a Linux the image that it boots from is inspected. Both need no more
than the agent allows: what it forbids stays unseen, with the reason.
"""

from __future__ import annotations

from contextlib import suppress
from enum import Enum
from string import ascii_uppercase
from typing import Any, Callable, Mapping, Optional, Protocol, Sequence, Tuple

from reconciler.adapters.clock import SYSTEM_CLOCK
from reconciler.adapters.libvirt import agent_answers, binding
from reconciler.adapters.libvirt.agent_answers import as_mapping, clean_text
from reconciler.core.frozen import replace
from reconciler.core.guest import (
    ANY_DRIVE,
    STORAGE_DRIVERS,
    STORAGE_MODULES,
    DriverProbe,
    DriverReport,
    GuestDriver,
    GuestReport,
    ProgramEnd,
)
from reconciler.core.units import show_span

DEVICES, FILE_SYSTEMS = "guest-get-devices", "guest-get-fsinfo"
EXEC, OPEN = "guest-exec", "guest-file-open"
POLL = 0.5  # seconds, after which a program that runs is asked for again
BUILTIN, ABSENT, UNSEEN = "has it built in", "absent ", "unseen"


class GuestScript(Enum):
    """What is run in a guest: whether the present kernel boots with a module, or has it itself."""

    INITRAMFS = """module=$1 kernel=$(uname -r)
if grep -q "/$module\\.ko" "/lib/modules/$kernel/modules.builtin" 2>/dev/null; then
  echo "$kernel has it built in"; exit
fi
if command -v lsinitrd >/dev/null 2>&1; then list=$(lsinitrd 2>/dev/null)
elif command -v lsinitramfs >/dev/null 2>&1; then
  list=$(lsinitramfs "/boot/initrd.img-$kernel" 2>/dev/null)
fi
case "$list" in
"") echo unseen ;;
*/"$module".ko*) echo "of $kernel has $module" ;;
*) echo "absent of $kernel" ;;
esac
"""


class Agent(Protocol):
    """What one look into a guest can ask."""

    def learn_commands(self) -> str:
        """Ask which commands the agent allows; return its version."""

    def find_hindrance(self, *commands: str) -> str:
        """Return why one of the commands cannot be used; empty if all can."""

    def ask(self, command: str, **arguments: object) -> object:
        """Return the answer to a command."""

    def run(self, path: str, *arguments: str) -> str:
        """Run a program in the guest, and return what it prints. Raises ValueError."""

    def is_there(self, path: str) -> bool:
        """Whether the agent can open a file in the guest."""


def look_at_driver(agent: Agent, probe: DriverProbe, shown: GuestReport) -> DriverReport:
    """Return what the guest tells of the driver; nothing before it shows the helper disk."""
    hindrance = agent.find_hindrance(EXEC, f"{EXEC}-status")
    lack = hindrance or agent.find_hindrance(OPEN)
    report, is_windows = DriverReport(probe, hindrance=lack), shown.is_windows
    if not _may_have_helper(probe, shown):
        return report
    if is_windows:
        report = replace(report, drivers=_ask_drivers(agent))
    if not probe.bus:  # no system boots from a card, so it may be started at any time
        return report
    if hindrance:
        return replace(report, about=hindrance)
    inspect = _inspect_service if is_windows else _inspect_initramfs
    try:
        is_started, about = inspect(agent, probe.bus)
    except (binding.AgentRefusedError, ValueError) as error:
        is_started, about = None, clean_text(str(error))
    return replace(report, is_started=is_started, about=about)


def _may_have_helper(probe: DriverProbe, shown: GuestReport) -> bool:
    """Whether the guest shows the helper disk, if any, or tells no serials."""
    serials = {disk.serial for disk in shown.disks} - {""}
    return not serials or any(serial.endswith(probe.serial) for serial in serials)


def _ask_drivers(agent: Agent) -> Tuple[GuestDriver, ...]:
    if agent.find_hindrance(DEVICES):
        return ()
    try:
        return agent_answers.read_drivers(agent.ask(DEVICES))
    except binding.AgentRefusedError:
        return ()


def _inspect_initramfs(agent: Agent, bus: str) -> Tuple[Optional[bool], str]:
    module = STORAGE_MODULES.get(bus, bus)
    said = clean_text(agent.run("/bin/sh", "-c", GuestScript.INITRAMFS.value, "sh", module))
    if BUILTIN in said:
        return True, f"kernel {said}"
    if said.startswith(ABSENT):
        return False, f"the initramfs {said[len(ABSENT) :]} lacks {module}"
    if said in ("", UNSEEN):
        return None, "the guest has neither lsinitrd nor lsinitramfs"
    return True, f"the initramfs {said}"


def _inspect_service(agent: Agent, bus: str) -> Tuple[Optional[bool], str]:
    """Ask the registry of a Windows: `sc.exe` names START_TYPE in the system's language."""
    service = STORAGE_DRIVERS.get(bus, bus)
    key = f"HKLM\\SYSTEM\\CurrentControlSet\\Services\\{service}"
    values = _read_registry(agent.run("C:\\Windows\\System32\\reg.exe", "query", key, "/s"))
    start, override = values.get(f"{service}\\start"), values.get("startoverride\\0", 0)
    if start is None:
        return None, f"the registry of Windows has no {service}\\Start"
    if start == 0 and override == 0:
        return True, f"{service} is BOOT_START"
    why = f"its StartOverride is {override}" if start == 0 else "it is not BOOT_START"
    return False, f"Windows does not start {service} at boot: {why}"


def _read_registry(printed: str) -> Mapping[str, int]:
    r"""Return the numbers that reg.exe prints, by key and name: `viostor\start`."""
    key, found = "", {}
    for line in printed.splitlines():
        name, is_number, number = (text.strip() for text in line.partition("REG_DWORD"))
        if line.startswith("HKEY_"):
            key = line.strip().rpartition("\\")[2].lower()
        elif is_number:
            with suppress(ValueError):
                found[f"{key}\\{name.lower()}"] = int(number, 16)
    return found


def run_program(
    agent: Agent,
    path: str,
    arguments: Sequence[str],
    limit: float,
    sleep: Callable[[float], None],
) -> ProgramEnd:
    """Run a program to its end, for at most so many seconds; it is never stopped."""
    try:
        agent.learn_commands()
        if hindrance := agent.find_hindrance(EXEC, f"{EXEC}-status", OPEN):
            return ProgramEnd(lack=hindrance)
        words = [_find_place(agent, argument) for argument in arguments]
        if "" in words:
            return ProgramEnd(lack=f"no drive of the guest has {arguments[words.index('')]}")
        begun = as_mapping(agent.ask(EXEC, path=path, arg=words, **{"capture-output": True}))
        return _await_end(agent, begun.get("pid"), limit, sleep)
    except (binding.AgentRefusedError, binding.AgentSilentError, binding.AgentBusyError) as error:
        return ProgramEnd(lack=clean_text(str(error)))


def _await_end(
    agent: Agent, pid: object, limit: float, sleep: Callable[[float], None]
) -> ProgramEnd:
    """Wait for the end of a program; an agent that is silent meanwhile is asked again."""
    deadline = SYSTEM_CLOCK.now() + limit
    while SYSTEM_CLOCK.now() < deadline:
        with suppress(binding.AgentSilentError, binding.AgentBusyError):
            status = as_mapping(agent.ask(f"{EXEC}-status", pid=pid))
            if status.get("exited") is True:
                return _read_end(status)
        sleep(POLL)
    return ProgramEnd(lack=f"it did not end in {show_span(round(limit))}, and still runs there")


def _find_place(agent: Agent, argument: str) -> str:
    """Return an argument with the drive that has its file; empty if none has it."""
    if not argument.startswith(ANY_DRIVE):
        return argument
    places = (f"{drive}{argument[len(ANY_DRIVE) :]}" for drive in _list_drives(agent))
    return next(filter(agent.is_there, places), "")


def _list_drives(agent: Agent) -> Sequence[str]:
    """Return the drives that have a medium, as a Windows names them; all if it does not say."""
    mounted: Tuple[str, ...] = ()
    if not agent.find_hindrance(FILE_SYSTEMS):
        with suppress(binding.AgentRefusedError):
            shown = agent_answers.read_file_systems(agent.ask(FILE_SYSTEMS))
            mounted = tuple(each.mountpoint[:2] for each in shown if each.mountpoint[1:2] == ":")
    return mounted or tuple(f"{letter}:" for letter in ascii_uppercase[2:])


def _read_end(status: Mapping[str, Any]) -> ProgramEnd:
    number = status.get("exitcode")
    written = "\n".join(
        agent_answers.decode_text(status.get(key)) for key in ("out-data", "err-data")
    )
    if not isinstance(number, int) or isinstance(number, bool):
        return ProgramEnd(output=clean_text(written), lack="its agent names no exit status")
    return ProgramEnd(number, clean_text(written))
