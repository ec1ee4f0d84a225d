"""The hypervisor driver on real libvirt and QEMU: what it reads, and what each call does.

The guests here have no system inside: what a guest's own driver must agree to is proved in
test_effects.
"""

from __future__ import annotations

import json
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Iterator, List, Sequence, Tuple

import libvirt
import pytest

from reconciler.adapters.libvirt.connections import STORAGE, Connections
from reconciler.adapters.libvirt.host import LibvirtHost, connect
from reconciler.core.names import MARK_NAMESPACE
from reconciler.core.world import DomainView, GuestState, MachineCaps
from reconciler.core.xmltree import parse
from reconciler.errors import NotFoundError, RefusedError, TerminalError, TransientError
from tests.lab.host import LabHost, temporary_host

MIB = 2**20
MAC = "52:54:00:00:00:01"
# libvirt 9.3 is the first that finds the tray of a drive that was plugged in.
FINDS_TRAYS = 9_003_000
KEEPS_USB_FULL = 11_000_000  # 9.0 empties a drive on usb, 11.3 refuses to


@dataclass(frozen=True)
class Bench:
    """The driver, a folder for images, and what the host can run."""

    host: LibvirtHost
    folder: Path
    caps: MachineCaps

    def xml(self, name: str, *devices: str, extra: str = "") -> str:
        """Return the definition of a small guest."""
        return f"""<domain type='{self.caps.domain_type}'><name>{name}</name>
<memory unit='MiB'>128</memory><currentMemory unit='MiB'>96</currentMemory>
<vcpu current='1'>4</vcpu>{extra or self.os()}<features><acpi/></features>
<devices>{"".join(devices)}<memballoon model='virtio'/></devices></domain>"""

    def os(self, firmware: str = "") -> str:
        """Return the part that says what machine it is."""
        kind = f"<type arch='{self.caps.arch}' machine='{self.caps.machine}'>hvm</type>"
        return f"<os{firmware}>{kind}</os>"

    def define(self, name: str, *devices: str, extra: str = "") -> DomainView:
        """Define a guest and return it as read."""
        self.host.domains.define(self.xml(name, *devices, extra=extra))
        return self.host.domains.read_domain(name)

    def run(self, name: str, *devices: str) -> DomainView:
        """Define and start a guest."""
        self.define(name, *devices)
        self.host.domains.start(name)
        return self.host.domains.read_domain(name)

    def image(self, name: str, size: int = 16 * MIB, kind: str = "qcow2") -> Path:
        """Make an empty image."""
        path = self.folder / name
        command = ["qemu-img", "create", "-q", "-f", kind, str(path), str(size)]
        subprocess.run(command, check=True)
        return path

    def medium(self, name: str) -> Path:
        """Make a medium."""
        return self.image(name, 4 * MIB, "raw")

    def live(self, name: str, path: str) -> List[str]:
        """Return what the running configuration has at an XPath, as attribute values."""
        text = self.host.domains.read_domain(name).live_xml
        assert text is not None
        element, _, attribute = path.rpartition("/@")
        values = (one.get(attribute) for one in parse(text).findall(element))
        return [value for value in values if value]


def disk(path: Path, target: str, bus: str = "virtio", kind: str = "qcow2") -> str:
    return f"""<disk type='file' device='disk'><driver name='qemu' type='{kind}'/>
<source file='{path}'/><target dev='{target}' bus='{bus}'/></disk>"""


def cdrom(path: Path | None, target: str, bus: str) -> str:
    source = "" if path is None else f"<source file='{path}'/>"
    removable = " removable='on'" if bus == "usb" else ""
    return f"""<disk type='file' device='cdrom'><driver name='qemu' type='raw'/>{source}
<target dev='{target}' bus='{bus}'{removable}/><readonly/></disk>"""


def nic(link: str = "up") -> str:
    return f"""<interface type='network'><mac address='{MAC}'/><source network='default'/>
<model type='virtio'/><link state='{link}'/></interface>"""


SCSI = "<controller type='scsi' model='virtio-scsi'/>"


@pytest.fixture
def bench(lab: LabHost, lab_host: LibvirtHost) -> Iterator[Bench]:
    """Return a bench on an empty host, and leave an empty one."""
    folder = lab.folder / "adapter"
    folder.mkdir(exist_ok=True)
    _clear(lab_host)
    yield Bench(lab_host, folder, lab_host.domains.read_caps(""))
    _clear(lab_host)
    for one in folder.iterdir():
        one.unlink()


def _clear(host: LibvirtHost) -> None:
    for name, view in host.domains.list_domains().items():
        assert isinstance(view, DomainView)
        if view.state.is_active:
            host.domains.power_off(name)
        if view.persistent:
            host.domains.undefine(name)


# Reading.


def test_a_list_and_a_single_read_say_the_same_of_every_kind_of_domain(
    lab: LabHost, bench: Bench
) -> None:
    bench.define("off")
    bench.define("auto")
    bench.host.domains.set_autostart("auto", True)
    bench.run("on")
    bench.run("paused")
    lab.virsh("suspend", "paused")
    bench.run("saved")
    lab.save("saved")
    transient = bench.folder / "transient.xml"
    transient.write_text(bench.xml("transient"), encoding="utf-8")
    lab.virsh("create", str(transient))

    views = bench.host.domains.list_domains()

    found = {}
    for name, view in views.items():
        assert view == bench.host.domains.read_domain(name)
        assert isinstance(view, DomainView)
        assert (view.live_xml is None) == (view.state is GuestState.OFF)
        found[name] = (view.state.value, view.autostart, view.persistent, view.saved)
    assert found == {
        "off": ("off", False, True, False),
        "auto": ("off", True, True, False),
        "on": ("running", False, True, False),
        "paused": ("paused", False, True, False),
        "saved": ("off", False, True, True),
        "transient": ("running", False, False, False),
    }


def test_what_is_running_and_what_is_stored_are_told_apart(bench: Bench) -> None:
    uuid = bench.run("vm").uuid
    other = bench.xml("vm", disk(bench.image("new.qcow2"), "vda"))
    bench.host.domains.define(other.replace("</name>", f"</name><uuid>{uuid}</uuid>"))
    view = bench.host.domains.read_domain("vm")
    assert "new.qcow2" in view.persistent_xml
    assert "new.qcow2" not in (view.live_xml or "")


def test_secrets_are_read_for_they_would_be_lost_at_the_next_define(bench: Bench) -> None:
    vnc = "<graphics type='vnc' port='-1' passwd='secret'/>"
    view = bench.run("vm", vnc)
    assert "passwd='secret'" in view.persistent_xml
    assert "passwd='secret'" in (view.live_xml or "")


def test_disk_sizes_of_guests_that_run_and_that_are_off(bench: Bench) -> None:
    bench.run("on", disk(bench.image("a.qcow2", 20 * MIB), "vda"))
    bench.define(
        "off",
        disk(bench.image("b.qcow2", 30 * MIB), "vda"),
        disk(bench.image("c.img", 40 * MIB, "raw"), "sda", "sata", "raw"),
        disk(bench.folder / "absent.qcow2", "vdb"),
    )
    sizes = bench.host.domains.read_disk_sizes(
        {"on": ("vda", "vdz"), "off": ("vda", "sda", "vdb"), "absent": ("vda",)}
    )
    assert sizes == {
        "on": {"vda": 20 * MIB}, "off": {"vda": 30 * MIB, "sda": 40 * MIB}, "absent": {},
    }  # fmt: skip


def test_many_domains_are_read_at_once_without_confusion(bench: Bench) -> None:
    for number in range(60):
        bench.define(f"vm{number}")
    views = bench.host.domains.list_domains()
    assert len(views) == 60
    for name, view in views.items():
        assert isinstance(view, DomainView)
        root = parse(view.persistent_xml)
        assert (root.findtext("name"), root.findtext("uuid")) == (name, view.uuid)


# What the host offers.


def test_a_machine_type_is_resolved_to_its_canonical_name(lab: LabHost, bench: Bench) -> None:
    for alias in ("q35", "pc"):
        machine = bench.host.domains.read_caps(alias).machine
        assert re.fullmatch(r"pc-(q35|i440fx)-.+", machine)
        assert bench.host.domains.read_caps(machine) == bench.host.domains.read_caps(alias)
    assert bench.host.domains.read_caps("").machine == bench.host.domains.read_caps("q35").machine
    said = lab.virsh("domcapabilities", "--machine", "q35").stdout
    assert bench.host.domains.read_caps("q35").domain_type == parse(said).findtext("domain")


def test_ide_is_on_offer_on_pc_only(bench: Bench) -> None:
    assert "ide" in bench.host.domains.read_caps("pc").cdrom_buses
    assert "ide" not in bench.host.domains.read_caps("q35").cdrom_buses


def test_an_unknown_machine_type_is_refused_with_what_is_on_offer(bench: Bench) -> None:
    with pytest.raises(TerminalError, match=r"'pc-q35-99\.9' is not available.*pc, q35") as caught:
        bench.host.domains.read_caps("pc-q35-99.9")
    assert "\n" not in str(caught.value)


# Storing definitions.


def test_a_definition_that_breaks_libvirts_schema_is_refused(bench: Bench) -> None:
    before = bench.define("vm")
    for devices in ("<disk type='file' wheels='4'/>", "<unheard/>"):
        with pytest.raises(TerminalError, match="domain vm: storing its definition"):
            bench.host.domains.define(bench.xml("vm", devices))
    assert bench.host.domains.read_domain("vm") == before


def test_our_mark_is_written_stored_and_live_and_replaced(bench: Bench) -> None:
    bench.run("vm")
    for generation in ("1", "2"):
        mark = f"<manifest name='vm' generation='{generation}'><spec>{{}}</spec></manifest>"
        bench.host.domains.set_metadata("vm", mark, live=True)
    view = bench.host.domains.read_domain("vm")
    for xml in (view.persistent_xml, view.live_xml or ""):
        marks = parse(xml).findall(f"metadata/{{{MARK_NAMESPACE}}}manifest")
        assert [one.get("generation") for one in marks] == ["2"]


def test_a_mark_on_a_guest_that_is_off_is_stored(bench: Bench) -> None:
    bench.define("vm")
    bench.host.domains.set_metadata("vm", "<manifest name='vm'/>", live=False)
    assert MARK_NAMESPACE in bench.host.domains.read_domain("vm").persistent_xml


def test_removing_a_definition_takes_nvram_tpm_and_saved_state(lab: LabHost, bench: Bench) -> None:
    tpm = "<tpm model='tpm-crb'><backend type='emulator' version='2.0'/></tpm>"
    devices = (tpm,) if bench.caps.tpm else ()
    uuid = bench.define("vm", *devices, extra=bench.os(" firmware='efi'")).uuid
    bench.host.domains.start("vm")
    lab.save("vm")
    left = [*(lab.folder / "lib").rglob("vm_VARS*"), *(lab.folder / "lib").rglob("vm.save")]
    assert len(left) == 2
    bench.host.domains.undefine("vm")
    states = [one for one in (lab.folder / "lib" / "swtpm").rglob("*") if uuid in one.name]
    assert [one for one in left if one.exists()] == []
    assert states == []
    with pytest.raises(NotFoundError):
        bench.host.domains.read_domain("vm")


# Power.


def test_a_guest_is_started_and_its_power_cut(bench: Bench) -> None:
    view = bench.run("vm")
    assert view.state is GuestState.RUNNING
    bench.host.domains.power_off("vm")
    assert bench.host.domains.read_domain("vm").state is GuestState.OFF


def test_asking_for_a_shutdown_returns_at_once_though_nobody_listens(bench: Bench) -> None:
    bench.run("vm")
    started = time.monotonic()
    bench.host.domains.shut_down("vm")
    assert time.monotonic() - started < 60
    assert bench.host.domains.read_domain("vm").state is GuestState.RUNNING


def test_a_start_that_fails_for_want_of_a_network_is_no_lost_domain(bench: Bench) -> None:
    bench.define("vm", nic().replace("'default'", "'absent'"))
    with pytest.raises(TransientError, match=r"domain vm: starting it: .*absent") as caught:
        bench.host.domains.start("vm")
    assert not isinstance(caught.value, NotFoundError)


# Changes to a running guest: live only, the stored definition stays as it was.


@pytest.fixture
def untouched(bench: Bench) -> Iterator[Callable[[str], None]]:
    """Return what to call with a guest's name; its stored definition must not change after."""
    before: List[Tuple[str, str]] = []

    def watch(name: str) -> None:
        before.append((name, bench.host.domains.read_domain(name).persistent_xml))

    yield watch
    for name, xml in before:
        assert bench.host.domains.read_domain(name).persistent_xml == xml


def test_disks_are_plugged_in_and_out(bench: Bench, untouched: Callable[[str], None]) -> None:
    bench.run("vm", SCSI)
    untouched("vm")
    xml = disk(bench.image("data.qcow2"), "sdb", "scsi")
    bench.host.domains.attach("vm", xml)
    assert bench.live("vm", "devices/disk/target/@dev") == ["sdb"]
    bench.host.domains.detach("vm", xml)
    _wait(lambda: bench.live("vm", "devices/disk/target/@dev") == [])


def test_a_device_that_was_asked_back_before_is_no_error(bench: Bench) -> None:
    bench.run("vm", nic())
    for _ in range(2):  # a guest without a system never answers
        bench.host.domains.detach("vm", nic())
    assert bench.live("vm", "devices/interface/mac/@address") == [MAC]


@pytest.mark.parametrize("bus", ["sata", "scsi", "usb"])
def test_a_medium_is_changed_ejected_and_put_in(
    bench: Bench, lab: LabHost, untouched: Callable[[str], None], bus: str
) -> None:
    first, second = bench.medium("a.iso"), bench.medium("b.iso")
    bench.run("vm", SCSI, cdrom(first, "sda", bus))
    lab.virsh(
        "suspend", "vm"
    )  # firmware would reset the bus, which shuts the tray unseen by libvirt
    untouched("vm")
    for medium in (second, None, None, first, second, None):
        if (bus, medium) == ("usb", None) and libvirt.getVersion() >= KEEPS_USB_FULL:
            with pytest.raises(TerminalError, match="must not be empty"):
                bench.host.domains.update("vm", cdrom(medium, "sda", bus))
            continue
        bench.host.domains.update("vm", cdrom(medium, "sda", bus))
        there = [] if medium is None else [str(medium)]
        assert bench.live("vm", "devices/disk/source/@file") == there


def test_the_medium_of_a_drive_that_was_plugged_in(bench: Bench) -> None:
    first, second = bench.medium("a.iso"), bench.medium("b.iso")
    bench.run("vm", SCSI)
    bench.host.domains.attach("vm", cdrom(first, "sda", "scsi"))
    if libvirt.getVersion() < FINDS_TRAYS:
        with pytest.raises(TransientError, match=r"tray stays shut.*older than 9\.3, restart"):
            bench.host.domains.update("vm", cdrom(second, "sda", "scsi"))
        first, second = second, first
    else:
        bench.host.domains.update("vm", cdrom(second, "sda", "scsi"))
    assert bench.live("vm", "devices/disk/source/@file") == [str(second)]


def test_a_link_goes_down_and_up_as_often_as_one_likes(
    bench: Bench, untouched: Callable[[str], None]
) -> None:
    bench.run("vm", nic())
    untouched("vm")
    for state in ("down", "up", "down", "up"):
        bench.host.domains.update("vm", nic(state))
        assert bench.live("vm", "devices/interface/link/@state") == [state]


def test_processors_are_plugged_up_to_the_maximum(
    bench: Bench, untouched: Callable[[str], None]
) -> None:
    bench.run("vm")
    untouched("vm")
    bench.host.domains.set_vcpus("vm", 3)
    assert bench.live("vm", "vcpu/@current") == ["3"]
    with pytest.raises(TerminalError, match="domain vm: setting 5 processors online"):
        bench.host.domains.set_vcpus("vm", 5)


def test_memory_is_asked_for_from_the_balloon(lab: LabHost, bench: Bench) -> None:
    bench.run("vm")
    bench.host.domains.set_memory("vm", 80 * 1024)
    with pytest.raises(TerminalError, match="domain vm: setting its memory"):
        bench.host.domains.set_memory("vm", 256 * 1024)
    answer = lab.virsh("qemu-monitor-command", "vm", '{"execute":"query-balloon"}').stdout
    assert json.loads(answer)["return"]["actual"] <= 128 * MIB


def test_a_disk_grows_under_a_running_guest_and_never_shrinks(
    bench: Bench, untouched: Callable[[str], None]
) -> None:
    bench.run("vm", disk(bench.image("a.qcow2", 16 * MIB), "vda"))
    untouched("vm")
    bench.host.domains.resize_block("vm", "vda", 32 * MIB)
    with pytest.raises(RefusedError, match="never shrunk"):
        bench.host.domains.resize_block("vm", "vda", 24 * MIB)
    sizes = bench.host.domains.read_disk_sizes({"vm": ("vda",)})
    assert sizes == {"vm": {"vda": 32 * MIB}}


def test_what_needs_a_running_guest_is_refused_on_one_that_is_off(bench: Bench) -> None:
    bench.define("vm", disk(bench.image("a.qcow2"), "vda"))
    domains = bench.host.domains
    deeds: Sequence[Callable[[], object]] = (
        lambda: domains.attach("vm", disk(bench.image("b.qcow2"), "vdb")),
        lambda: domains.set_vcpus("vm", 2),
        lambda: domains.set_memory("vm", 65536),
        lambda: domains.resize_block("vm", "vda", 32 * MIB),
    )
    for deed in deeds:
        with pytest.raises(TransientError, match=r"domain vm: .* not running"):
            deed()  # it may have been switched off meanwhile: the next plan finds it so


# Connections.


def test_the_drivers_have_connections_of_their_own(lab: LabHost) -> None:
    connections = Connections(lab.uri())
    assert connections.get(STORAGE).getURI() == lab.uri("storage")
    assert connections.is_local


def test_a_daemon_that_is_away_is_transient_and_its_return_is_noticed() -> None:
    with temporary_host() as away:
        host = connect(away.uri())
        assert host.domains.list_domains() == {}
        assert host.storage.list_pools() == ("default",)
        away.stop()
        for read in (host.domains.list_domains, host.storage.list_pools):
            with pytest.raises(TransientError):
                read()
        away.start_daemon()
        assert host.domains.list_domains() == {}
        host.storage.list_pools()


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
