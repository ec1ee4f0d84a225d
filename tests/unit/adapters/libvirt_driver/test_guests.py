"""What is read of a guest through its agent: by a domain and an agent of our own."""

from __future__ import annotations

import base64
import json
import threading
from typing import Any, Callable, Dict, List, Mapping, Union, cast

import libvirt
import libvirt_qemu
import pytest

from reconciler.adapters.libvirt import guest_addresses, guest_drivers, guests
from reconciler.adapters.libvirt.connections import Connections
from reconciler.adapters.libvirt.guests import LibvirtGuests, RememberedGuests
from reconciler.core.guest import (
    AddressSource,
    AgentState,
    CloudInitReport,
    CloudInitState,
    DriverProbe,
    FileSystem,
    GuestDisk,
    GuestInterface,
    GuestReport,
    ProgramEnd,
    Unseen,
)
from reconciler.errors import NotFoundError, TransientError
from tests.unit.adapters.libvirt_driver.test_errors import Made
from tests.unit.fake_clock import FakeClock

MAC = "52:54:00:01:02:03"
XML = f"""<domain id='1'><devices>
<interface type='network'><mac address='{MAC}'/></interface>
<channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0' state='connected'/>
</channel></devices></domain>"""
INSTANCE = "web01-abc-1"
FINISHED = f"/var/lib/cloud/instances/{INSTANCE}/boot-finished"
RESULT, STATUS = "/run/cloud-init/result.json", "/run/cloud-init/status.json"
FILES = ("guest-file-open", "guest-file-read", "guest-file-close")
PCI = {"domain": 0, "bus": 5, "slot": 0, "function": 0}
ANSWERS: Mapping[str, Any] = {
    "guest-get-osinfo": {"id": "rocky", "pretty-name": "Rocky Linux 9.6 (Blue Onyx)"},
    "guest-get-host-name": {"host-name": "web01"},
    "guest-network-get-interfaces": [
        {"name": "lo", "hardware-address": "00:00:00:00:00:00"},
        {
            "name": "eth0",
            "hardware-address": MAC.upper(),
            "ip-addresses": [
                {"ip-address": "192.0.2.10", "prefix": 24},
                {"ip-address": "fe80::1%eth0", "prefix": 64},
                {"ip-address": "no address", "prefix": 7},
            ],
        },
        {"name": "docker0", "hardware-address": "02:42:00:00:00:01"},
    ],
    "guest-get-disks": [
        {
            "name": "/dev/vda",
            "partition": False,
            "address": {"bus-type": "virtio", "serial": "ROOT01", "pci-controller": PCI},
        },
        {"name": "/dev/vda1", "partition": True},
        {"name": "/dev/sr0", "partition": False},
        {"name": "/dev/dm-0", "partition": False},
    ],
    "guest-get-fsinfo": [
        {
            "name": "vda4",
            "mountpoint": "/",
            "type": "xfs",
            "total-bytes": 1000,
            "used-bytes": 400,
            "disk": [{"dev": "/dev/vda4", "bus-type": "virtio"}],
        }
    ],
}
Answer = Union[Any, BaseException]


def refusal(command: str, why: str) -> Made:
    """Return libvirt's error for a command that the agent has answered with an error."""
    text = f"internal error: unable to execute QEMU agent command '{command}': {why}"
    return Made(libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_FROM_QEMU, text)


def silence() -> Made:
    """Return libvirt's error for an agent that does not answer."""
    return Made(libvirt.VIR_ERR_AGENT_UNRESPONSIVE, libvirt.VIR_FROM_QEMU, "not responding")


class Agent:
    """A guest's agent. `answers` maps a command to its answer or error; `files` are the guest's."""

    def __init__(self) -> None:
        self.answers: Dict[str, Answer] = dict(ANSWERS)
        self.blocked: List[str] = []
        self.files: Dict[str, Union[str, Exception]] = {}
        self.asked: List[str] = []
        self.open: Dict[int, str] = {}
        self.seconds: List[int] = []
        self.arguments: Dict[str, Any] = {}

    def __call__(self, _domain: object, text: str, seconds: int, _flags: int) -> str:
        """Stand for `qemuAgentCommand`."""
        asked = json.loads(text)
        command, arguments = asked["execute"], asked["arguments"]
        self.asked.append(command)
        self.seconds.append(seconds)
        self.arguments[command] = arguments
        answer = self._find(command, arguments)
        if isinstance(answer, BaseException):
            raise answer
        return json.dumps({"return": answer})

    def _find(self, command: str, arguments: Mapping[str, Any]) -> Answer:
        if command in self.answers:
            return self.answers[command]
        answer = {
            "guest-info": self._list_commands,
            "guest-file-open": self._open_file,
            "guest-file-read": self._read_file,
            "guest-file-close": self._close_file,
        }.get(command)
        if answer is None:
            return refusal(command, "The command has not been found")
        return answer(arguments)

    def _list_commands(self, _arguments: Mapping[str, Any]) -> Answer:
        names = {*self.answers, *FILES, "guest-exec", "guest-exec-status"}
        known = [{"name": name, "enabled": name not in self.blocked} for name in names]
        return {"version": "9.1.0", "supported_commands": known}

    def _open_file(self, arguments: Mapping[str, Any]) -> Answer:
        missing = refusal("guest-file-open", "failed to open file: No such file or directory")
        found = self.files.get(arguments["path"], missing)
        if isinstance(found, Exception):
            return found
        handle = 1000 + len(self.asked)
        self.open[handle] = found
        return handle

    def _read_file(self, arguments: Mapping[str, Any]) -> Answer:
        content = self.open[arguments["handle"]].encode()
        return {"count": len(content), "buf-b64": base64.b64encode(content).decode()}

    def _close_file(self, arguments: Mapping[str, Any]) -> Answer:
        del self.open[arguments["handle"]]
        return {}


class Domain:
    """A running domain. `known` are the addresses that the host has, by libvirt's source."""

    def __init__(self) -> None:
        self.xml = XML
        self.state_ = [1, 1]
        self.known: Dict[int, Any] = {}

    def ID(self) -> int:  # noqa: N802 - libvirt's name
        """Return its number."""
        return 1 if self.state_[0] == 1 else -1

    def state(self, _flags: int = 0) -> List[int]:
        """Return state and reason."""
        return self.state_

    def XMLDesc(self, _flags: int = 0) -> str:  # noqa: N802
        """Return the live XML."""
        return self.xml

    def interfaceAddresses(self, source: int, _flags: int = 0) -> Any:  # noqa: N802
        """Return what the host knows."""
        if source not in self.known:
            raise Made(libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_FROM_QEMU, "wrong nlmsg len")
        return self.known[source]


class World:
    """One host with one domain."""

    def __init__(self) -> None:
        self.agent, self.domain = Agent(), Domain()
        self.error: Exception = Made(libvirt.VIR_ERR_NO_DOMAIN, libvirt.VIR_FROM_QEMU, "no domain")

    def get(self, _driver: str = "") -> World:
        """Return the connection."""
        return self

    def lookupByName(self, name: str) -> Domain:  # noqa: N802
        """Return the domain."""
        if name != "web01":
            raise self.error
        return self.domain

    def read(self, instance: str = "", name: str = "web01") -> GuestReport:
        """Look into the guest."""
        return LibvirtGuests(cast("Connections", self)).read(name, instance)

    def is_finished(self, instance: str = INSTANCE) -> bool:
        """Return what is said of the first boot."""
        return LibvirtGuests(cast("Connections", self)).is_boot_finished("web01", instance)


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return a host whose guest runs with its agent."""
    world = World()
    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", world.agent)
    return world


def test_a_look_into_a_guest(world: World) -> None:
    world.agent.files = {RESULT: '{"v1": {"errors": []}}', FINISHED: ""}
    assert world.read(INSTANCE) == GuestReport(
        AgentState.ANSWERS,
        version="9.1.0",
        os="Rocky Linux 9.6 (Blue Onyx)",
        system="rocky",
        host_name="web01",
        interfaces=(GuestInterface(MAC, "eth0", ("192.0.2.10/24", "fe80::1/64")),),
        disks=(GuestDisk("/dev/vda", "virtio", "ROOT01", "0000:05:00.0"),),
        file_systems=(FileSystem("/", "xfs", "vda4", 1000, 400, ("/dev/vda",)),),
        cloud_init=CloudInitReport(CloudInitState.DONE, finished=INSTANCE),
    )
    assert world.agent.open == {}, "a file of the guest stays open"
    assert max(world.agent.seconds) <= 3


def test_enterprise_linux_forbids_files_and_programs(world: World) -> None:
    world.agent.blocked = [*FILES, "guest-exec", "guest-exec-status"]
    report = world.read(INSTANCE)
    assert (report.agent, report.cloud_init) == (AgentState.ANSWERS, CloudInitReport())
    why = "the guest's agent does not allow guest-file-open"
    assert report.unseen == (Unseen("cloud-init", why),)
    assert report.disks
    assert not set(world.agent.asked) & {*FILES, "guest-exec"}


def test_an_old_agent_knows_no_disks(world: World) -> None:
    del world.agent.answers["guest-get-disks"]
    report = world.read()
    assert report.find_unseen("disks") == "the guest's agent does not know guest-get-disks"
    assert report.file_systems


def test_a_command_that_fails_hides_only_what_it_tells(world: World) -> None:
    world.agent.answers["guest-get-disks"] = refusal("guest-get-disks", "not\timplemented\x1b[31m")
    report = world.read()
    assert report.find_unseen("disks") == "guest-get-disks failed: not implemented[31m"
    assert report.file_systems


@pytest.mark.parametrize("code", ["VIR_ERR_AGENT_UNRESPONSIVE", "VIR_ERR_AGENT_UNSYNCED"])
def test_an_agent_that_does_not_answer_is_asked_once(world: World, code: str) -> None:
    world.agent.answers["guest-info"] = Made(getattr(libvirt, code), libvirt.VIR_FROM_QEMU)
    assert world.read() == GuestReport(AgentState.SILENT)
    assert world.agent.asked == ["guest-info"]


def test_an_agent_that_hangs_at_a_file_system_is_asked_nothing_more(world: World) -> None:
    world.agent.answers["guest-get-fsinfo"] = silence()
    report = world.read()
    assert report.agent is AgentState.SILENT
    assert report.disks, "what it told before"
    assert report.find_unseen("file systems") == "the agent does not answer guest-get-fsinfo"
    assert world.agent.asked[-1] == "guest-get-fsinfo"


def test_an_agent_that_somebody_else_uses_is_busy(world: World) -> None:
    code, domain = libvirt.VIR_ERR_OPERATION_TIMEOUT, libvirt.VIR_FROM_QEMU
    world.agent.answers["guest-info"] = Made(code, domain, "cannot acquire state change lock")
    assert world.read() == GuestReport(AgentState.BUSY)


def test_an_agent_that_is_not_connected_is_not_asked(world: World) -> None:
    world.domain.xml = XML.replace("'connected'", "'disconnected'")
    assert world.read() == GuestReport(AgentState.DISCONNECTED)
    world.domain.xml = XML.replace("org.qemu.guest_agent.0", "com.redhat.spice.0")
    assert world.read() == GuestReport(AgentState.NONE)
    assert not world.is_finished()
    assert world.agent.asked == []


@pytest.mark.parametrize("state", [[5, 1], [3, 1], [7, 0]], ids=["off", "paused", "asleep"])
def test_a_guest_that_does_not_run_is_not_asked(world: World, state: List[int]) -> None:
    world.domain.state_ = state
    assert world.read() == GuestReport(AgentState.OFF)
    assert world.agent.asked == []


def test_no_domain_and_no_libvirt_are_told_apart(world: World) -> None:
    with pytest.raises(NotFoundError):
        world.read(name="web02")
    world.error = Made(libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_FROM_RPC, "socket is closed")
    with pytest.raises(TransientError):
        world.read(name="web02")


def test_a_connection_that_breaks_is_no_answer_of_the_agent(world: World) -> None:
    broken = Made(libvirt.VIR_ERR_INTERNAL_ERROR, libvirt.VIR_FROM_RPC, "socket is closed")
    world.agent.answers["guest-get-disks"] = broken
    with pytest.raises(TransientError, match="domain web01: asking its guest agent"):
        world.read()


def test_the_host_names_addresses_that_the_agent_does_not(world: World) -> None:
    lease = {"vnet0": {"hwaddr": MAC, "addrs": [{"addr": "192.0.2.7", "prefix": 24, "type": 0}]}}
    world.domain.known[0] = lease
    world.agent.answers["guest-network-get-interfaces"] = [
        {"name": "eth0", "hardware-address": MAC}
    ]
    [card] = world.read().interfaces
    assert card == GuestInterface(MAC, "eth0", ("192.0.2.7/24",), AddressSource.LEASE)
    world.domain.known = {0: {}, 2: lease}
    world.domain.xml = XML.replace("'connected'", "'disconnected'")
    [card] = world.read().interfaces
    assert card == GuestInterface(MAC, "", ("192.0.2.7/24",), AddressSource.ARP)


@pytest.mark.parametrize(
    ("files", "state", "errors", "stage"),
    [
        ({}, CloudInitState.ABSENT, (), ""),
        ({STATUS: '{"v1": {"stage": "init"}}'}, CloudInitState.RUNNING, (), "init"),
        ({STATUS: '{"v1": {"stage": null}}'}, CloudInitState.RUNNING, (), ""),
        ({STATUS: "{}", RESULT: '{"v1": {"errors": []}}'}, CloudInitState.DONE, (), ""),
        ({RESULT: '{"v1": {"errors": ["a\\nb"]}}'}, CloudInitState.FAILED, ("a b",), ""),
    ],
)
def test_cloud_init_says_how_it_ended(
    world: World, files: Dict[str, Any], state: CloudInitState, errors: Any, stage: str
) -> None:
    world.agent.files = files
    assert world.read().cloud_init == CloudInitReport(state, errors, stage)


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (refusal("guest-file-open", "Permission denied"), "Permission denied"),
        ("{", "Expecting property name"),
    ],
)
def test_cloud_init_that_cannot_be_read_is_not_absent(world: World, file: Any, why: str) -> None:
    world.agent.files = {RESULT: file}
    report = world.read()
    assert report.cloud_init == CloudInitReport()
    assert why in report.find_unseen("cloud-init")


def test_cloud_init_is_run_where_files_are_forbidden_and_programs_are_not(world: World) -> None:
    world.agent.blocked = list(FILES)
    printed = json.dumps({"status": "error", "errors": ["no network"], "detail": "x"})
    world.agent.answers["guest-exec"] = {"pid": 7}
    world.agent.answers["guest-exec-status"] = {
        "exited": True,
        "out-data": base64.b64encode(printed.encode()).decode(),
    }
    report = world.read()
    assert report.cloud_init == CloudInitReport(CloudInitState.FAILED, ("no network",), "x")


def test_the_first_boot_is_over_when_its_marker_is_there(world: World) -> None:
    assert not world.is_finished()
    world.agent.files = {FINISHED: ""}
    assert world.is_finished()
    assert world.agent.open == {}


def test_an_agent_that_may_not_say_it_has_not_seen_the_first_boot_end(world: World) -> None:
    world.agent.answers["guest-file-open"] = refusal("guest-file-open", "disabled")
    assert not world.is_finished()


@pytest.mark.parametrize("command", ["guest-ping", "guest-file-open"])
def test_that_an_agent_was_silent_about_the_first_boot_is_said(world: World, command: str) -> None:
    world.agent.answers[command] = silence()
    with pytest.raises(TransientError, match=r"^the guest agent did not answer within 2 s$"):
        world.is_finished()


def test_a_plan_does_not_wait_until_libvirt_gives_a_hung_agent_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guest_addresses, "PATIENCE", 0.01)
    given_up = threading.Event()

    def hang(*_arguments: object) -> str:
        given_up.wait(30)
        raise silence()

    monkeypatch.setattr(libvirt_qemu, "qemuAgentCommand", hang)
    reached = LibvirtGuests(cast("Connections", world))
    try:
        with pytest.raises(TransientError, match="did not answer within 2 s"):
            world.is_finished()
        assert reached.find_driver("web01", DriverProbe("virtio", "1")).agent is AgentState.SILENT
        assert not given_up.is_set()
    finally:
        given_up.set()


@pytest.mark.parametrize(
    "make",
    [
        lambda: None,
        list,
        lambda: "text",
        lambda: [None, 7, {"name": 7, "address": [], "ip-addresses": {}, "disk": "x"}],
        lambda: {"supported_commands": {}},
        lambda: [{"name": "/dev/vda", "address": {"pci-controller": {"domain": -1, "bus": "x"}}}],
        lambda: [{"mountpoint": "/", "total-bytes": -1, "used-bytes": True}] * 1000,
    ],
)
def test_a_guest_that_answers_nonsense_breaks_nothing(
    world: World, make: Callable[[], Any]
) -> None:
    for command in (*ANSWERS, "guest-file-open", "guest-file-read"):
        world.agent.answers[command] = make()
    report = world.read(INSTANCE)
    assert report.agent is AgentState.ANSWERS
    assert len(report.file_systems) <= 64


def test_a_daemon_remembers_the_end_of_a_first_boot_and_never_asks_for_it(world: World) -> None:
    guests = RememberedGuests(LibvirtGuests(cast("Connections", world)))
    world.agent.files = {FINISHED: ""}
    assert not guests.is_boot_finished("web01", INSTANCE)
    assert world.agent.asked == []
    guests.read("web01", INSTANCE)
    asked = len(world.agent.asked)
    assert guests.is_boot_finished("web01", INSTANCE)
    assert not guests.is_boot_finished("web01", "web01-abc-2")
    assert not guests.is_boot_finished("web01", "")
    assert len(world.agent.asked) == asked


def test_a_daemon_remembers_that_an_agent_did_not_answer_about_a_driver(world: World) -> None:
    guests = RememberedGuests(LibvirtGuests(cast("Connections", world)))
    probe = DriverProbe("virtio", "VRBC01")
    assert guests.find_driver("web01", probe).agent is AgentState.NONE
    world.agent.answers["guest-info"] = silence()
    guests.read("web01", "", probe)
    assert guests.find_driver("web01", probe).agent is AgentState.SILENT


REG_QUERY = """
HKEY_LOCAL_MACHINE\\SOFTWARE\\Microsoft\\Windows\\CurrentVersion\\Setup\\State
    ImageState    REG_SZ    {}

"""  # what reg.exe prints


def run_program(agent: Agent, output: str) -> None:
    """Have each program in the guest print that."""
    agent.answers["guest-exec"] = {"pid": 7}
    data = base64.b64encode(output.encode()).decode()
    agent.answers["guest-exec-status"] = {"exited": True, "exitcode": 0, "out-data": data}


@pytest.mark.parametrize(
    ("state", "is_over"),
    [("IMAGE_STATE_COMPLETE", True), ("IMAGE_STATE_UNDEPLOYABLE", False)],
)
def test_a_windows_says_whether_it_is_set_up(world: World, state: str, *, is_over: bool) -> None:
    run_program(world.agent, REG_QUERY.format(state))
    assert world.is_finished("windows:WEB01") is is_over
    world.agent.answers["guest-get-osinfo"] = {"id": "mswindows"}
    finished = world.read("windows:WEB01").cloud_init.finished
    assert finished == ("windows:WEB01" if is_over else "")


def test_where_no_program_may_be_run_the_name_of_a_windows_tells(world: World) -> None:
    assert world.is_finished("windows:WEB01")
    assert not world.is_finished("windows:WEB02")
    del world.agent.answers["guest-get-host-name"]
    assert not world.is_finished("windows:WEB01")


def test_a_daemon_remembers_that_a_windows_is_set_up(world: World) -> None:
    guests = RememberedGuests(LibvirtGuests(cast("Connections", world)))
    run_program(world.agent, REG_QUERY.format("IMAGE_STATE_COMPLETE"))
    guests.read("web01", "windows:WEB01")
    assert guests.is_boot_finished("web01", "windows:WEB01")
    assert not guests.is_boot_finished("web01", "windows:WEB02")


INF = r"E:\viostor\2k16\amd64\viostor.inf"
VOLUMES = [
    {"name": "1", "mountpoint": "D:\\", "type": "CDFS"},
    {"name": "2", "mountpoint": "E:\\", "type": "CDFS"},
    {"name": "3", "mountpoint": "C:\\", "type": "NTFS"},
]


class Program:
    """A program in a Windows that runs for some seconds, with the drivers on drive E."""

    def __init__(self, world: World, *polls: Any) -> None:
        self.agent, self.polls, self.slept = world.agent, list(polls), 0.0
        world.agent.answers.update({"guest-exec": {"pid": 7}, "guest-get-fsinfo": VOLUMES})
        world.agent.files = {INF: "[Version]"}
        self.guests = RememberedGuests(LibvirtGuests(cast("Connections", world)))
        self.clock = FakeClock()

    def run(self, limit: float = 60) -> ProgramEnd:
        """Run it to its end."""
        words = ("/add-driver", INF.replace("E:", "X:"), "/install")
        self.agent.answers["guest-exec-status"] = self.polls[0]
        return self.guests.run("web01", r"C:\pnputil.exe", words, limit, self.sleep)

    def sleep(self, seconds: float) -> None:
        """Wait, until the next answer."""
        self.clock.sleep(seconds)
        self.polls[1:] and self.polls.pop(0)
        self.agent.answers["guest-exec-status"] = self.polls[0]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """Return the time of the adapter."""
    clock = FakeClock()
    for module in (guests, guest_drivers):
        monkeypatch.setattr(module, "SYSTEM_CLOCK", clock)
    return clock


def exited(status: object, output: str = "") -> Mapping[str, Any]:
    """Return what the agent says of a program that has ended."""
    data = base64.b64encode(output.encode()).decode()
    return {"exited": True, "exitcode": status, "out-data": data}


def test_a_program_is_run_with_the_file_of_the_drive_that_has_it(world: World) -> None:
    program = Program(world, {"exited": False}, silence(), exited(3010, "added\r\noem7.inf"))
    assert program.run() == ProgramEnd(3010, "added oem7.inf")
    assert world.agent.arguments["guest-exec"] == {
        "path": r"C:\pnputil.exe",
        "arg": ["/add-driver", INF, "/install"],
        "capture-output": True,
    }
    assert world.agent.open == {}, "a file of the guest stays open"


def test_where_the_agent_names_no_volumes_each_drive_is_tried(world: World) -> None:
    program = Program(world, exited(0))
    world.agent.answers["guest-get-fsinfo"] = refusal("guest-get-fsinfo", "not supported")
    assert program.run() == ProgramEnd(0)
    assert world.agent.arguments["guest-exec"]["arg"][1] == INF


def test_a_program_whose_file_is_on_no_drive_is_not_run(world: World) -> None:
    program = Program(world, exited(0))
    world.agent.files = {}
    lack = rf"no drive of the guest has {INF.replace('E:', 'X:')}"
    assert program.run() == ProgramEnd(lack=lack)
    assert "guest-exec" not in world.agent.asked


@pytest.mark.parametrize("command", ["guest-exec", "guest-exec-status", "guest-file-open"])
def test_where_the_agent_may_run_nothing_it_is_said(world: World, command: str) -> None:
    world.agent.blocked = [command]
    lack = f"the guest's agent does not allow {command}"
    assert Program(world, exited(0)).run() == ProgramEnd(lack=lack)
    assert "guest-exec" not in world.agent.asked


def test_a_program_that_goes_on_for_ever_is_left_alone(world: World, clock: FakeClock) -> None:
    program = Program(world, {"exited": False})
    program.clock = clock
    assert program.run(120) == ProgramEnd(lack="it did not end in 2m, and still runs there")
    assert clock.now() == 120


LACKS: Any = {
    "no agent": (lambda world: setattr(world.domain, "xml", "<domain/>"), "has no channel for it"),
    "refused": (
        lambda world: world.agent.answers.update(
            {"guest-exec": refusal("guest-exec", "Failed to execute child process")}
        ),
        "Failed to execute child process",
    ),
    "silent": (
        lambda world: world.agent.answers.update({"guest-info": silence()}),
        "not responding",
    ),
}


@pytest.mark.parametrize(("change", "lack"), LACKS.values(), ids=LACKS.keys())
def test_what_the_guest_does_not_do_is_said(
    world: World, change: Callable[[World], None], lack: str
) -> None:
    program = Program(world, exited(0))
    change(world)
    assert lack in program.run().lack


def test_a_status_that_is_not_a_number_is_not_known(world: World) -> None:
    assert Program(world, exited("5")).run().lack == "its agent names no exit status"


def test_a_look_says_whether_a_program_may_be_run(world: World) -> None:
    probe = DriverProbe("virtio", "VRBC01")
    guests = LibvirtGuests(cast("Connections", world))
    found = guests.read("web01", "", probe).driver
    assert found is not None
    assert found.hindrance == ""
    for command in ("guest-exec", "guest-exec-status", "guest-file-open"):
        world.agent.blocked = [command]
        found = guests.read("web01", "", probe).driver
        assert found is not None
        assert found.hindrance == f"the guest's agent does not allow {command}"
