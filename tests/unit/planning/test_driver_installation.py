"""The agent of a Windows installs the driver in step 2 of a staged bus change, once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Optional

import pytest

from reconciler.core.guest import (
    STORAGE_DRIVERS,
    AgentState,
    DriverProbe,
    DriverReport,
    GuestDisk,
    GuestReport,
    ProgramEnd,
)
from reconciler.core.manifest import BusChange
from reconciler.core.plan import Action, Change, Effect, InstallDriver, SetMetadata
from reconciler.core.virtio_win import DriverMedia, DriverMedium
from reconciler.core.xmltree import parse, serialise
from reconciler.errors import ReconcilerError, StoppingError, TransientError
from reconciler.kinds.machine.answers import read
from reconciler.kinds.machine.status import find_status
from tests.unit.planning.walking import Walk, manifest_on
from tests.unit.windows.media import make_medium

PNPUTIL = r"C:\Windows\System32\pnputil.exe"
INF = r"X:\viostor\2k16\amd64\viostor.inf"
INSTALL = BusChange("staged", timeout=600, install=True)
ISO = "/usr/share/virtio-win/virtio-win-0.1.248.iso"
CDROM = (
    "<disk type='file' device='cdrom'><driver name='qemu' type='raw'/><target dev='sdb' bus='sata'/>"
    "<source file='{}'/><readonly/><alias name='ua-cd'/></disk>"
)


class WindowsWalk(Walk):
    """A Windows whose manifest has `install: true`, with the helper disk and the ISO in its drive."""

    def __init__(
        self,
        bus: str = "virtio",
        os: str = "win2k16",
        medium: Optional[DriverMedium] = None,
        **values: Any,
    ) -> None:
        super().__init__(manifest_on(bus, os=os, **{"bus_change": INSTALL, **values}))
        there = make_medium("0.1.248") if medium is None else medium
        found = DriverMedia((there,))
        self.host.storage.find_driver_media = lambda place: found  # type: ignore[method-assign]
        self.add_drive(there.path)
        self.apply()
        self.host.writes.clear()
        self.answer()

    def add_drive(self, iso: str) -> None:
        """Give it a drive with the ISO."""
        view, drive = self.view, CDROM.format(iso)
        xml = view.persistent_xml.replace("</disk>", f"</disk>{drive}", 1)
        live = (view.live_xml or "").replace("</disk>", f"</disk>{drive}", 1)
        self.host.change("vm", persistent_xml=xml, live_xml=live)

    def answer(self, *disks: GuestDisk, **values: Any) -> None:
        """Have its agent answer, and show these disks; values are the report's, or `hindrance`."""
        run = values.pop("run", parse(self.view.live_xml or "<domain/>").get("id", ""))
        hindrance = values.pop("hindrance", "")
        probe = DriverProbe(self.mark.bus, self.mark.serial)
        driver = DriverReport(probe, run, is_started=True, hindrance=hindrance)
        given = {"agent": AgentState.ANSWERS, "system": "mswindows", **values}
        self.host.guests.reports["vm"] = GuestReport(disks=disks, driver=driver, **given)

    def end(self, *args: Any, **values: Any) -> None:
        """Have the program end like that."""
        self.host.guests.ends["vm"] = ProgramEnd(*args, **values)


def find_line(action: Action) -> Change:
    """Return the line of the bus change's own."""
    [line] = [change for change in action.changes if change.path == "busChange"]
    return line


def find_reason(action: Action) -> str:
    """Return why the disk is not moved yet."""
    [line] = [change for change in action.changes if change.path == "disks[root].bus"]
    assert line.effect is Effect.WITHHELD
    return line.reason


def test_the_plan_says_which_program_is_run_in_the_guest() -> None:
    walk = WindowsWalk()
    action = walk.plan()
    line = find_line(action)
    assert line.desired == rf"pnputil /add-driver {INF} /install"
    assert line.effect is Effect.LIVE
    assert line.reason == (
        "step 2 of 5: the guest's agent runs this program in the guest, once; X: is the drive with "
        f"{ISO}"
    )
    assert find_reason(action).startswith("step 2 of 5: waits since ")
    mark, install = action.steps
    assert isinstance(mark, SetMetadata)
    assert install == InstallDriver(PNPUTIL, ("/add-driver", INF, "/install"), 120, "viostor")


@pytest.mark.parametrize(
    ("bus", "os", "version", "arguments"),
    [
        ("scsi", "win2k16", "0.1.248", ("/add-driver", INF.replace("viostor", "vioscsi"), "/install")),
        ("virtio", "win2k8r2", "0.1.173", ("-i", "-a", INF.replace("2k16", "2k8R2"))),
        ("virtio", "win11", "0.1.285", ("/add-driver", INF.replace("2k16", "w11"), "/install")),
    ],
)  # fmt: skip
def test_the_driver_is_that_of_the_bus_and_of_the_windows(
    bus: str, os: str, version: str, arguments: Any
) -> None:
    step = WindowsWalk(bus, os, make_medium(version)).plan().steps[-1]
    assert step == InstallDriver(PNPUTIL, arguments, 120, STORAGE_DRIVERS[bus])


def test_a_32_bit_windows_gets_the_32_bit_driver() -> None:
    walk = WindowsWalk(os="win10", medium=make_medium("0.1.285"))
    walk.answer(machine="x86")
    assert INF.replace("2k16", "w10").replace("amd64", "x86") in walk.plan().steps[-1].arguments  # type: ignore[union-attr]


def test_it_is_run_once_and_the_mark_says_how_it_ended() -> None:
    walk = WindowsWalk()
    walk.end(0, "Driver package added successfully.")
    walk.apply()
    assert walk.host.guests.programs == [(PNPUTIL, "/add-driver", INF, "/install")]
    assert walk.mark.installed == round(walk.clock.wall())
    assert walk.mark.install_result == "viostor: exit status 0"
    assert walk.plan().steps == ()
    walk.answer(GuestDisk("\\\\.\\PhysicalDrive1", "scsi", walk.mark.serial))
    walk.apply()
    assert walk.mark.proved
    assert len(walk.host.guests.programs) == 1


ENDS: Any = {
    "there already": ((259,), "exit status 259 (no device of the guest matches the driver, or"),
    "to be restarted": ((3010,), "exit status 3010 (installed; the guest must be restarted"),
    "refused": ((5, "Access is denied."), "exit status 5: Access is denied."),
    "not at an end": ((None, "", "it did not end in 2m"), "it did not end in 2m"),
}


@pytest.mark.parametrize(("end", "said"), ENDS.values(), ids=ENDS.keys())
def test_an_installation_that_failed_is_what_step_2_waits_for(end: Any, said: str) -> None:
    walk = WindowsWalk()
    walk.end(*end)
    action = walk.apply()
    assert "virtio" not in walk.buses
    assert not walk.mark.failed, "the walk goes on waiting"
    for _ in range(2):  # not even much later
        action = walk.plan()
        assert action.steps == ()
        assert (
            f"pnputil was run in the guest at 1970-01-12T13:46:40Z: viostor: {said}"
            in find_reason(action)
        )
        assert "To run it again: virt-reconciler retry vm." in find_reason(action)
        assert "In the guest, install the drivers of virtio-win." in find_reason(action)
        walk.clock.sleep(100_000)
    assert said in find_status("vm", read(walk.view)).condition("Ready").reason


def test_a_person_may_have_it_run_again_once() -> None:
    walk = WindowsWalk()
    walk.end(5, "Access is denied.")
    walk.apply()
    before = walk.clock.wall() - 1
    assert walk.plan(retried=before).steps == (), "that was before it was run"
    walk.clock.sleep(60.2)
    retried = walk.clock.wall()
    walk.clock.sleep(0.1)  # the mark has whole seconds
    walk.end(0)
    walk.apply(retried=retried)
    assert len(walk.host.guests.programs) == 2
    assert walk.mark.install_result == "viostor: exit status 0"
    assert walk.plan(retried=retried).steps == ()


CUTS: Any = {
    "before it ran, by the daemon's end": ("run vm", StoppingError("the daemon was stopped"), 0),
    "before it ran": ("run vm", TransientError("libvirt is not reached"), 0),
    "before its end was noted": ("set_metadata vm", TransientError("libvirt is not reached"), 1),
}


@pytest.mark.parametrize(("call", "error", "runs"), CUTS.values(), ids=CUTS.keys())
def test_what_cuts_it_short_has_it_not_run_again(
    call: str, error: ReconcilerError, runs: int
) -> None:
    walk = WindowsWalk()

    def die(now: str) -> None:
        if now == call and walk.mark.installed:
            raise error

    walk.host.watch = die
    outcome = walk.carry_out(walk.plan())
    assert outcome.error
    assert "put back" not in outcome.error
    walk.host.watch = lambda _call: None
    assert walk.mark.installed
    assert walk.mark.install_result == ""
    action = walk.plan()
    assert action.steps == ()
    assert "how it ended is not known" in find_reason(action)
    assert len(walk.host.guests.programs) == runs


HINDRANCES: Any = {
    "guest-exec": ({"hindrance": "the guest's agent does not allow guest-exec"}, "guest-exec"),
    "silent": ({"agent": AgentState.SILENT}, "its guest agent must answer first"),
    "an earlier run": ({"run": "99"}, "its guest agent must answer first"),
    "no Windows": ({"system": "rocky"}, "the guest is not a Windows: its agent calls it 'rocky'"),
    "Itanium": ({"machine": "ia64"}, "has no driver viostor in 2k16 for ia64"),
}


@pytest.mark.parametrize(("shown", "why"), HINDRANCES.values(), ids=HINDRANCES.keys())
def test_what_hinders_it_is_said_together_with_the_way_by_hand(shown: Any, why: str) -> None:
    walk = WindowsWalk()
    walk.answer(**shown)
    action = walk.plan()
    assert action.steps == ()
    assert action.transient
    reason = find_reason(action)
    assert "The agent does not install it: " in reason
    assert why in reason
    assert "In the guest" in reason.partition(why)[2]


def test_without_an_iso_nothing_is_run() -> None:
    walk = WindowsWalk(medium=make_medium("0.1.248", oses=("2k16",)))
    xml = walk.view.persistent_xml.replace(f"media='{ISO}'", "").replace(f'media="{ISO}"', "")
    walk.host.change("vm", persistent_xml=xml)
    assert "no virtio-win ISO that suits the guest was on this host" in find_reason(walk.plan())


def test_an_iso_that_comes_at_the_next_start_is_waited_for() -> None:
    walk = WindowsWalk()
    live = parse(walk.view.live_xml or "")
    [drive] = live.findall("devices/disk[@device='cdrom']")
    drive.getparent().remove(drive)  # type: ignore[union-attr]
    walk.host.change("vm", live_xml=serialise(live))
    assert f"the guest gets the CD-ROM with {ISO} at its next start" in find_reason(walk.plan())


def test_an_iso_that_was_removed_meanwhile_is_named() -> None:
    walk = WindowsWalk()
    other = replace(make_medium("0.1.229"), path="/isos/virtio-win.iso")
    walk.host.storage.find_driver_media = lambda place: DriverMedia((other,))  # type: ignore[method-assign]
    assert f"{ISO} is not on this host any more" in find_reason(walk.plan())


def test_without_install_a_person_does_it() -> None:
    action = WindowsWalk(bus_change=BusChange("staged", timeout=600)).plan()
    assert action.steps == ()
    assert "In the guest, install the drivers of virtio-win." in find_reason(action)
