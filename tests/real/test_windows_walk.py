"""A staged bus change of a guest whose agent answers as Windows' does, with the command alone."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Mapping, Tuple

import pytest

from reconciler.adapters.libvirt.host import connect
from reconciler.core.machine import Cdrom, Disk, Disruption, Overlay
from reconciler.core.manifest import BusChange, Lifecycle, MachineManifest
from reconciler.core.plan import Effect
from tests.lab.host import LabHost
from tests.lab.windows_agent import WindowsGuest, boot_windows
from tests.real.booting import LIMIT
from tests.real.commands import Command
from tests.real.scenarios import BASE
from tests.real.test_staged_bus_change import apply, buses, find_mark, plan
from tests.real.worlds import MIB, Now, Product, manifest_of
from tests.unit.windows.media import write_iso

WINDOWS = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: win01}}
spec:
  os: win2k16
  cpus: 1
  memory: 256MiB
  power: running
  guestAgent: true
  interfaces: [{{name: lan, network: default, mac: "52:54:00:00:00:01", model: {model}}}]
  cdroms: []
  disks:
    - {{name: root, bus: {bus}, size: 64MiB, serial: ROOT01}}
  lifecycle:
    disruption: restart
    shutdownTimeout: 5s
    forceOff: true
    busChange: {{mode: staged, timeout: 1h}}
  xml:
{boot}"""
DRIVER, VERSION = "Red Hat VirtIO SCSI controller", "100.90.104.24800"
ADAPTER, MAC = "Red Hat VirtIO Ethernet Adapter", "52:54:00:00:00:01"


def write(command: Command, bus: str, boot: Tuple[Overlay, ...]) -> None:
    """Write the manifest with the disk on that bus, and the card as it belongs to it."""
    lines = "".join(
        f"    - {{xpath: {overlay.xpath}, fragment: '{overlay.fragment}'}}\n" for overlay in boot
    )
    command.write(
        "m/win01.yaml",
        WINDOWS.format(bus=bus, boot=lines, model="virtio" if bus == "virtio" else "e1000e"),
    )


def restart(command: Command, lab: LabHost, windows: WindowsGuest) -> None:
    """Shut the guest down by its agent, and have it started again."""
    lab.virsh("shutdown", "win01", "--mode", "agent")
    deadline = time.monotonic() + LIMIT
    while "shut off" not in lab.virsh("domstate", "win01").stdout:
        assert time.monotonic() < deadline, "its agent does not shut it down"
        time.sleep(0.1)
    command("apply", "--yes", "m")
    windows.wait_ready(LIMIT)


def list_shown(windows: WindowsGuest) -> Mapping[str, str]:
    """Return serial → bus of the disks that its agent shows."""
    disks = [disk["address"] for disk in windows.ask("guest-get-disks")]
    return {disk.get("serial", "").strip(): disk["bus-type"] for disk in disks}


def list_adapters(windows: WindowsGuest) -> Mapping[str, str]:
    """Return MAC → name of the network adapters that its agent shows."""
    shown = windows.ask("guest-network-get-interfaces")
    return {each["hardware-address"]: each["name"] for each in shown if "hardware-address" in each}


def find_version(windows: WindowsGuest, driver: str = DRIVER) -> str:
    """Return the version of a driver, as its agent tells it; empty if it shows none."""
    devices = windows.ask("guest-get-devices")
    return "".join(each["driver-version"] for each in devices if each["driver-name"] == driver)


@pytest.fixture
def iso(lab: LabHost) -> str:
    """Return a virtio-win ISO on the host."""
    return str(write_iso(lab.images / "virtio-win-0.1.248.iso", "0.1.248"))


def test_a_windows_is_moved_in_five_steps(
    command: Command, lab: LabHost, product: Product, iso: str
) -> None:
    windows, boot = WindowsGuest(lab.uri(), "win01"), boot_windows()
    write(command, "sata", boot)
    command("apply", "--yes", "m")
    windows.wait_ready(LIMIT)
    write(command, "virtio", boot)
    first = command("apply", "--yes", "m").stdout
    assert "busChange: helper disk on virtio, 1GiB as default/win01-bus-change.qcow2" in first
    assert f", CD-ROM {iso} at its next start" in first
    assert list_shown(windows) == {"ROOT01": "sata"}, "it does not show what it has no driver for"
    second = command("plan", "m").stdout
    assert "step 2 of 5: waits since" in second
    assert "the guest shows no disk with the serial VRBC" in second
    assert find_version(windows) == find_version(windows, ADAPTER) == ""
    assert list_adapters(windows) == {MAC: "Ethernet"}

    restart(command, lab, windows)
    boot_id = windows.boot_id()
    assert list_shown(windows) == {"ROOT01": "sata"}
    for service in ("viostor", "netkvm"):
        assert "Driver package installed on device" in windows.install(service, "D")
    assert find_version(windows) == VERSION, "as the INF on the CD-ROM says"
    assert len(list_adapters(windows)) == 2, "its card, and the helper card"
    assert windows.list_unanswered() == ""
    third = command("apply", "--yes", "m").stdout
    assert "disks[root].bus: sata → virtio  # step 3 of 5: the guest shows the helper disk" in third
    assert f", by driver {DRIVER} {VERSION} and the helper card 52:54:00:" in third
    assert f", by driver {ADAPTER} {VERSION}; it is shut down, moved and started" in third
    assert "interfaces[lan].model: e1000e → virtio  # step 3 of 5" in third

    windows.wait_ready(LIMIT)
    assert windows.boot_id() != boot_id
    assert list_shown(windows)["ROOT01"] == "scsi", "so a Windows calls virtio"
    assert windows.disk(64 * MIB)["bus"] == "virtio"
    assert windows.drivers()[MAC] == "virtio_net"
    fifth = command("apply", "--yes", "m").stdout
    assert "step 5 of 5: the guest shows its disks and cards on virtio" in fifth
    assert "No changes" in command("plan", "m").stdout
    assert list_adapters(windows) == {MAC: "Ethernet"}
    assert buses(product.xml("win01")) == ("virtio",)
    assert buses(product.live_xml("win01")) == ("virtio", "sata")
    assert windows.media_size() == 0, "the drive is empty until the guest is off"
    assert not (lab.images / "win01-bus-change.qcow2").exists()
    assert windows.list_unanswered() == ""


def manifest_on(bus: str, iso: str) -> MachineManifest:
    """Return the manifest of a Windows that shows its driver, and does not start it at boot.

    Its agent may run nothing, so nobody sees that.
    """
    machine = replace(
        BASE,
        os="win2k16",
        guest_agent=True,
        disks=(Disk("root", bus, 64 * MIB, serial="ROOT01"),),
        cdroms=(Cdrom("cd", media=iso),),
        overlays=boot_windows(may_exec=False, starts=False),
    )
    lifecycle = Lifecycle(Disruption.RESTART, bus_change=BusChange("staged"))
    return manifest_of(machine, lifecycle)


@pytest.mark.dated
def test_a_windows_that_does_not_boot_from_virtio_scsi_comes_back(
    lab: LabHost, product: Product, iso: str
) -> None:
    windows = WindowsGuest(lab.uri(), BASE.name)
    apply(product, manifest_on("sata", iso))
    windows.wait_ready(LIMIT)
    moved = manifest_on("scsi", iso)
    apply(product, moved)
    assert buses(product.live_xml(BASE.name)) == ("sata", "sata", "scsi"), "no second CD-ROM"
    windows.install("vioscsi", "D")
    shown = list_shown(windows)
    assert sorted(shown.values()) == ["sas", "sata"], "so a Windows calls virtio-scsi"
    [change] = plan(product, moved).changes
    assert "by driver Red Hat VirtIO SCSI pass-through controller 100.90.104.24800" in change.reason
    assert "at boot was not seen (the guest's agent does not allow guest-exec)" in change.reason
    apply(product, moved)
    assert set(buses(product.live_xml(BASE.name))) == {"scsi", "sata"}
    [change] = plan(product, moved).changes
    assert "step 4 of 5: waits since" in change.reason

    hangs = replace(moved, lifecycle=replace(moved.lifecycle, shutdown_timeout=3))
    apply(Product(connect(lab.uri(), locks=Now(3600))), hangs)
    assert buses(product.xml(BASE.name)) == ("sata", "sata")
    windows.wait_ready(LIMIT)
    assert list_shown(windows) == {"ROOT01": "sata"}
    assert "To try again: virt-reconciler retry" in plan(product, moved).stalled
    assert windows.list_unanswered() == ""


def installing(bus: str, iso: str, os: str = "win2k16") -> MachineManifest:
    """Return the manifest of a Windows whose agent installs the driver."""
    change = BusChange("staged", install=True)
    lifecycle = Lifecycle(Disruption.RESTART, shutdown_timeout=3, force_off=True, bus_change=change)
    machine = replace(manifest_on(bus, iso).machine, os=os, overlays=boot_windows())
    return manifest_of(machine, lifecycle)


@pytest.mark.dated
def test_the_agent_of_a_windows_installs_the_driver(
    lab: LabHost, product: Product, iso: str
) -> None:
    windows = WindowsGuest(lab.uri(), BASE.name)
    apply(product, installing("sata", iso))
    windows.wait_ready(LIMIT)
    wrong = installing("virtio", iso, "win2k19")  # its driver does not fit this Windows
    apply(product, wrong)
    assert list_shown(windows) == {"ROOT01": "sata"}
    line = plan(product, wrong).changes[-1]
    assert line.desired == r"pnputil /add-driver X:\viostor\2k19\amd64\viostor.inf /install"
    assert line.effect is Effect.LIVE
    apply(product, wrong)
    [waits] = plan(product, wrong).changes
    assert "step 2 of 5: waits since" in waits.reason
    assert "viostor: exit status 259 (no device of the guest matches the driver" in waits.reason

    right, boot_id = installing("virtio", iso), windows.boot_id()
    assert plan(product, right).steps == (), "nobody has asked for another try"
    later = time.time() + 1
    assert plan(product, right, retried=later).changes[-1].desired == (
        r"pnputil /add-driver X:\viostor\2k16\amd64\viostor.inf /install"
    )
    apply(product, right, retried=later)
    mark = find_mark(product)
    assert mark is not None
    assert mark.install_result == "viostor: exit status 0"
    assert find_version(windows) == VERSION
    assert windows.boot_id() == boot_id
    [change] = plan(product, right).changes
    assert "step 3 of 5: the guest shows the helper disk" in change.reason
    apply(product, right)
    windows.wait_ready(LIMIT)
    assert windows.disk(64 * MIB)["bus"] == "virtio", "it boots with the driver"
    assert windows.list_unanswered() == ""
