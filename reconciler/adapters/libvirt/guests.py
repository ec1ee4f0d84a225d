"""Running guests, by their agents. Implements `Guests`.

Each command has a time limit of its own, and a look is over with the first one that is not
answered. virDomainGetGuestInfo has no such limit but by virDomainAgentSetResponseTimeout, which
would also hold for others who use the agent (a backup that freezes file systems), and tells neither
bus nor PCI address of a disk.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any, Callable, Dict, FrozenSet, List, Mapping, Optional, Sequence, TypeVar

from reconciler.adapters.clock import SYSTEM_CLOCK
from reconciler.adapters.libvirt import binding, guest_addresses
from reconciler.adapters.libvirt.agent_answers import (
    as_mapping,
    clean_text,
    decode_text,
    list_items,
    read_disks,
    read_file_systems,
    read_interfaces,
    read_text,
    read_texts,
)
from reconciler.adapters.libvirt.connections import Connections
from reconciler.adapters.libvirt.domain_reader import NOT_RUNNING, read_state
from reconciler.adapters.libvirt.objects import Domain
from reconciler.core.frozen import replace
from reconciler.core.guest import (
    CLOUD_INIT,
    DISKS,
    FILE_SYSTEMS,
    HOST_NAME,
    INTERFACES,
    SYSTEM,
    AgentState,
    CloudInitReport,
    CloudInitState,
    DriverProbe,
    GuestReport,
    ProgramEnd,
    Unseen,
)
from reconciler.core.names import NAMED
from reconciler.core.windows_images import COMPLETE, STATE_KEY, STATE_VALUE
from reconciler.core.world import GuestState
from reconciler.core.xmltree import parse
from reconciler.errors import TransientError

LOOK_SECONDS = 15.0  # after which a look into one guest asks nothing more
EXEC_POLLS, EXEC_WAIT = 10, 0.3  # how often, and after how many seconds a program is asked for
MOST_BYTES = 65536  # of a file
INSTANCES = "/var/lib/cloud/instances"
RESULT, STATUS = "/run/cloud-init/result.json", "/run/cloud-init/status.json"
OPEN, READ, CLOSE, EXEC = "guest-file-open", "guest-file-read", "guest-file-close", "guest-exec"
_NOT_THERE = "No such file"
_CLOUD_INIT, _REG = "/usr/bin/cloud-init", r"C:\Windows\System32\reg.exe"
# The words of `cloud-init status --format json` (cloudinit/cmd/status.py).
_WORDS: Mapping[str, CloudInitState] = {
    "done": CloudInitState.DONE,
    "degraded done": CloudInitState.DONE,
    "running": CloudInitState.RUNNING,
    "not started": CloudInitState.RUNNING,
    "error": CloudInitState.FAILED,
    "not run": CloudInitState.ABSENT,
    "disabled": CloudInitState.ABSENT,
}

T = TypeVar("T")


class LibvirtGuests:
    """Guests through one libvirt connection."""

    def __init__(self, connections: Connections) -> None:
        """Keep the connections; nothing is opened yet."""
        self._connections = connections

    def read(
        self, name: str, instance: str = "", probe: Optional[DriverProbe] = None
    ) -> GuestReport:
        """Look into a domain's guest; `instance` is the instance of cloud-init's to ask about."""
        with binding.calling(f"domain {name}: asking its guest agent", binding.NO_DOMAIN):
            domain = self._connections.get().lookupByName(name)
            if domain.ID() == NOT_RUNNING or read_state(domain)[0] is not GuestState.RUNNING:
                return GuestReport(AgentState.OFF)
            root = parse(domain.XMLDesc())
            macs = guest_addresses.find_macs(root)
            report = GuestReport(guest_addresses.find_channel(root))
            if report.agent is AgentState.ANSWERS:
                report = _Look(domain, macs, instance, probe).make()
            return replace(
                report, interfaces=guest_addresses.add_addresses(domain, macs, report.interfaces)
            )

    def is_boot_finished(self, name: str, instance: str) -> bool:
        """Whether the guest's agent says that cloud-init has finished as that instance.

        In place of an instance it may be the path of the file that says so, or a computer name
        after `NAMED`: whether a Windows that is called so has set itself up. An agent that is not
        connected is not asked, and one that may open no file (Enterprise Linux forbids it by
        default) says nothing. Raises TransientError for one that does not answer, soon.
        """
        with binding.calling(f"domain {name}: asking its guest agent", binding.NO_DOMAIN):
            domain = self._connections.get().lookupByName(name)
            if guest_addresses.find_channel(parse(domain.XMLDesc())) is not AgentState.ANSWERS:
                return False
            look = _Look(domain, frozenset(), instance)
            try:
                guest_addresses.await_answer(domain)
                if instance.startswith(NAMED):
                    return look.is_set_up()
                is_path = instance.startswith("/")
                return look.is_there(
                    instance if is_path else f"{INSTANCES}/{instance}/boot-finished"
                )
            except (binding.AgentSilentError, binding.AgentBusyError) as error:
                raise TransientError(guest_addresses.SILENT) from error

    def find_driver(self, name: str, probe: DriverProbe) -> GuestReport:
        """Return what the guest shows of a driver now; nothing where no answer comes soon."""
        with binding.calling(f"domain {name}: asking its guest agent", binding.NO_DOMAIN):
            domain = self._connections.get().lookupByName(name)
            try:
                if guest_addresses.find_channel(parse(domain.XMLDesc())) is AgentState.ANSWERS:
                    guest_addresses.await_answer(domain)
            except (binding.AgentSilentError, binding.AgentBusyError):
                return GuestReport(AgentState.SILENT)
        return self.read(name, "", probe)

    def run(
        self,
        name: str,
        path: str,
        arguments: Sequence[str],
        limit: float,
        sleep: Callable[[float], None],
    ) -> ProgramEnd:
        """Run a program in a domain's guest to its end."""
        with binding.calling(f"domain {name}: asking its guest agent", binding.NO_DOMAIN):
            domain = self._connections.get().lookupByName(name)
            state = guest_addresses.find_channel(parse(domain.XMLDesc()))
            if state is not AgentState.ANSWERS:
                return ProgramEnd(lack=f"its guest agent: {state.value}")
            from reconciler.adapters.libvirt import guest_drivers  # noqa: PLC0415 - seldom needed

            look = _Look(domain, frozenset(), "", limit=LOOK_SECONDS + limit)
            return guest_drivers.run_program(look, path, arguments, limit, sleep)


class RememberedGuests:
    """The guests of a daemon: what plans ask is known from the last look, without asking.

    So no pass waits for an agent. Implements `Guests`.
    """

    def __init__(self, guests: LibvirtGuests) -> None:
        """Remember nothing yet."""
        self._guests = guests
        self._last: Dict[str, GuestReport] = {}

    def read(
        self, name: str, instance: str = "", probe: Optional[DriverProbe] = None
    ) -> GuestReport:
        """Look into a domain's guest, and remember it."""
        report = self._guests.read(name, instance, probe)
        self._last[name] = report
        return report

    def find_driver(self, name: str, probe: DriverProbe) -> GuestReport:
        """Return the last look, if it was made for that driver, or its agent did not answer."""
        report = self._last.get(name, GuestReport())
        if not report.answers:
            return report
        is_it = report.driver is not None and report.driver.probe == probe
        return report if is_it else GuestReport()

    def run(
        self,
        name: str,
        path: str,
        arguments: Sequence[str],
        limit: float,
        sleep: Callable[[float], None],
    ) -> ProgramEnd:
        """Run a program in a domain's guest to its end."""
        return self._guests.run(name, path, arguments, limit, sleep)

    def is_boot_finished(self, name: str, instance: str) -> bool:
        """Whether the last look has shown that cloud-init has finished as that instance."""
        known = self._last.get(name)
        return known is not None and bool(instance) and known.cloud_init.finished == instance


class _Look:
    """One look into one guest whose agent is connected."""

    def __init__(
        self,
        domain: Domain,
        macs: FrozenSet[str],
        instance: str,
        probe: Optional[DriverProbe] = None,
        limit: float = LOOK_SECONDS,
    ) -> None:
        self._domain, self._macs, self._instance, self._probe = domain, macs, instance, probe
        self._until = SYSTEM_CLOCK.now() + limit
        self._allowed: Dict[str, bool] = {}
        self._unseen: List[Unseen] = []
        self._report = GuestReport(AgentState.ANSWERS)

    def make(self) -> GuestReport:
        """Ask for everything; what comes after a command that is not answered stays unseen."""
        try:
            self._ask_all()
        except binding.AgentSilentError:
            self._report = replace(self._report, agent=AgentState.SILENT)
        except binding.AgentBusyError:
            self._report = replace(self._report, agent=AgentState.BUSY)
        return replace(self._report, unseen=tuple(self._unseen))

    def _ask_all(self) -> None:
        """Ask: what may hang (file systems: a dead NFS server) comes last."""
        self._report = replace(self._report, version=self.learn_commands())
        system = self._find(SYSTEM, "guest-get-osinfo", as_mapping)
        self._report = replace(
            self._report,
            os=read_text(system, "pretty-name") or read_text(system, "name"),
            system=read_text(system, "id"),
            machine=read_text(system, "machine").replace("unknown", ""),
            host_name=self._find(
                HOST_NAME, "guest-get-host-name", lambda answer: read_text(answer, "host-name")
            ),
        )
        interfaces = self._find(
            INTERFACES,
            "guest-network-get-interfaces",
            lambda answer: read_interfaces(answer, self._macs),
        )
        disks = self._find(DISKS, "guest-get-disks", read_disks)
        self._report = replace(self._report, interfaces=interfaces, disks=disks)
        if self._probe is not None:
            from reconciler.adapters.libvirt import guest_drivers  # noqa: PLC0415 - seldom needed

            driver = guest_drivers.look_at_driver(self, self._probe, self._report)
            driver = replace(driver, run=str(self._domain.ID()))
            self._report = replace(self._report, driver=driver)
        if self._instance.startswith(NAMED):
            finished = self._instance if self.is_set_up() else ""
            self._report = replace(self._report, cloud_init=CloudInitReport(finished=finished))
        elif not self._report.is_windows:
            self._report = replace(self._report, cloud_init=self._find_cloud_init())
        mounted = self._find(FILE_SYSTEMS, "guest-get-fsinfo", read_file_systems)
        self._report = replace(self._report, file_systems=mounted)

    def learn_commands(self) -> str:
        """Ask which commands the agent allows; return its version."""
        info = as_mapping(self.ask("guest-info"))
        commands = list_items(info.get("supported_commands"), 500)
        self._allowed = {read_text(item, "name"): item.get("enabled") is True for item in commands}
        return read_text(info, "version")

    def _find(self, what: str, command: str, read: Callable[[object], T]) -> T:
        """Return what is read of a command's answer, or of none, which is noted."""
        hindrance = self.find_hindrance(command)
        if hindrance:
            self._unseen.append(Unseen(what, hindrance))
            return read(None)
        try:
            return read(self.ask(command))
        except binding.AgentRefusedError as error:
            self._unseen.append(Unseen(what, f"{command} failed: {clean_text(str(error))}"))
        except binding.AgentSilentError:
            self._unseen.append(Unseen(what, f"the agent does not answer {command}"))
            raise
        return read(None)

    def find_hindrance(self, *commands: str) -> str:
        """Return why one of the commands cannot be used; empty if all can."""
        for command in commands:
            if self._allowed.get(command) is not True:
                known = command in self._allowed
                return f"the guest's agent does not {'allow' if known else 'know'} {command}"
        return ""

    def ask(self, command: str, **arguments: object) -> object:
        """Return the answer to a command."""
        if SYSTEM_CLOCK.now() > self._until:
            raise binding.AgentSilentError(f"{command} was not asked, as all took too long")
        return binding.ask_agent(self._domain, command, **arguments)

    def _find_cloud_init(self) -> CloudInitReport:
        hindrance = self.find_hindrance(OPEN, READ, CLOSE)
        try:
            if not hindrance:
                return self._read_cloud_init()
            if not self.find_hindrance(EXEC, f"{EXEC}-status"):
                return self._run_cloud_init()
        except (binding.AgentRefusedError, ValueError) as error:
            hindrance = clean_text(str(error))
        self._unseen.append(Unseen(CLOUD_INIT, hindrance))
        return CloudInitReport()

    def _read_cloud_init(self) -> CloudInitReport:
        """Read the files in which cloud-init says how it ended; both are of this boot."""
        done = self._instance and self.is_there(f"{INSTANCES}/{self._instance}/boot-finished")
        report = CloudInitReport(CloudInitState.ABSENT, finished=self._instance if done else "")
        result = self._read_json(RESULT)
        if result is not None:
            errors = read_texts(as_mapping(result.get("v1")).get("errors"))
            state = CloudInitState.FAILED if errors else CloudInitState.DONE
            return replace(report, state=state, errors=errors)
        status = self._read_json(STATUS)
        if status is None:
            return report
        stage = read_text(as_mapping(status.get("v1")), "stage")
        return replace(report, state=CloudInitState.RUNNING, stage=stage)

    def _run_cloud_init(self) -> CloudInitReport:
        """Run `cloud-init status`, where programs may be run and files may not be read."""
        found = as_mapping(json.loads(self.run(_CLOUD_INIT, "status", "--format", "json")))
        word, errors = read_text(found, "status"), read_texts(found.get("errors"))
        state = _WORDS.get(word, CloudInitState.UNKNOWN)
        if read_text(found, "extended_status").endswith("running"):  # error - running, since 23.4
            state = CloudInitState.RUNNING
        return CloudInitReport(state, errors, read_text(found, "detail"))

    def run(self, path: str, *arguments: str) -> str:
        """Run a program in the guest, and return what it writes; ValueError if it is slow."""
        options = {"capture-output": True}
        started = self.ask(EXEC, path=path, arg=list(arguments), **options)
        for _ in range(EXEC_POLLS):
            status = as_mapping(self.ask(f"{EXEC}-status", pid=as_mapping(started).get("pid", 0)))
            if status.get("exited") is True:
                return decode_text(status.get("out-data"))
            SYSTEM_CLOCK.sleep(EXEC_WAIT)
        raise ValueError(f"{os.path.basename(path)} {arguments[0]} takes too long")

    def is_set_up(self) -> bool:
        """Whether a Windows says that its setup is complete.

        Where no program may be run, it is when it is called by its name; that is so a little
        before the end, when Windows has read the answer file and keeps a copy.
        """
        with suppress(binding.AgentRefusedError, ValueError):
            words = self.run(_REG, "query", STATE_KEY, "/v", STATE_VALUE).split()
            states = [word for word in words if word.startswith("IMAGE_STATE_")]
            if states:
                return states[0] == COMPLETE
        with suppress(binding.AgentRefusedError):
            name = read_text(self.ask("guest-get-host-name"), "host-name")
            return name.lower() == self._instance[len(NAMED) :].lower()
        return False

    def _read_json(self, path: str) -> Optional[Mapping[str, Any]]:
        """Return a file's content; None if there is no such file."""
        handle = self._open(path)
        if handle is None:
            return None
        try:
            answer = as_mapping(self.ask(READ, handle=handle, count=MOST_BYTES))
        finally:
            with suppress(binding.AgentRefusedError):
                self.ask(CLOSE, handle=handle)
        return as_mapping(json.loads(decode_text(answer.get("buf-b64")) or "{}"))

    def is_there(self, path: str) -> bool:
        """Whether the agent can open a file in the guest."""
        try:
            handle = self._open(path)
        except binding.AgentRefusedError:
            return False
        if handle is not None:
            with suppress(binding.AgentRefusedError):
                self.ask(CLOSE, handle=handle)
        return handle is not None

    def _open(self, path: str) -> Optional[int]:
        try:
            handle = self.ask(OPEN, path=path, mode="r")
        except binding.AgentRefusedError as error:
            if _NOT_THERE in str(error):
                return None
            raise
        return handle if isinstance(handle, int) else None
