"""Step 2 of a staged bus change: the driver gets into the guest, and the guest shows it. Pure.

Where the manifest has `install: true`, the agent of a Windows runs pnputil, once: the mark says so
before it is run, so no kill has it run again. How it ended is for people; what the guest shows is
the proof.
"""

from __future__ import annotations

import shlex

from reconciler.core.frozen import replace
from reconciler.core.guest import ANY_DRIVE, NETWORK_MODULE, STORAGE_DRIVERS, STORAGE_MODULES
from reconciler.core.plan import Effect, InstallDriver
from reconciler.core.units import show_time
from reconciler.core.virtio_win import NETWORK_DRIVER
from reconciler.errors import MissingError
from reconciler.kinds.machine.domain.bus_change import has_drivers
from reconciler.kinds.machine.domain.mark import describe_installation
from reconciler.kinds.machine.planning.bus_change import find_evidence, find_lack
from reconciler.kinds.machine.planning.bus_change_stage import BusWalk, Stage, note_line, write_mark

PNPUTIL = r"C:\Windows\System32\pnputil.exe"
LIMIT = 120  # seconds; more than a driver of two files takes on a slow disk


def await_driver(stage: Stage) -> BusWalk:
    """Wait for the guest to show the helpers; its agent installs the driver, if it is to."""
    mark, evidence = stage.mark, find_evidence(stage.mark, stage.reading, stage.proof)
    since = show_time(mark.begun)
    waits = f"step 2 of 5: waits since {since} for the driver of {mark.aim} in the guest"
    waits, tried = f"{waits}: {evidence.lack}.", ""
    if stage.manifest.lifecycle.bus_change.install:
        if not mark.installed or int(stage.retried) > mark.installed:  # in whole seconds
            try:
                return _install(stage, waits)
            except MissingError as error:
                tried = f" The agent does not install it: {error}."
        else:
            again = f"virt-reconciler retry {shlex.quote(stage.manifest.name)}"
            tried = f" {describe_installation(mark)}. To run it again: {again}."
    return BusWalk(reason=f"{waits}{tried} {_explain_driver(stage)}", waits=True)


def _install(stage: Stage, waits: str) -> BusWalk:
    former = stage.mark
    wanted = (STORAGE_DRIVERS.get(former.bus, ""), NETWORK_DRIVER if former.model else "")
    programs = [_find_program(stage, driver) for driver in filter(None, wanted)]
    mark = replace(former, installed=stage.walk.now, install_result="")
    reason = (
        f"step 2 of 5: the guest's agent runs this program in the guest, once; {ANY_DRIVE} is the "
        f"drive with {mark.media}"
    )
    return BusWalk(
        (write_mark(stage, mark), *programs),
        tuple(
            note_line(" ".join(("pnputil", *program.arguments)), Effect.LIVE, reason)
            for program in programs
        ),
        f"{waits} The agent installs it",
        waits=True,
    )


def _find_program(stage: Stage, driver: str) -> InstallDriver:
    """Return what installs a driver. Raises MissingError where something for it is missing."""
    from reconciler.core.windows_drivers import find_release  # noqa: PLC0415 - of a Windows alone
    from reconciler.kinds.machine.planning.windows_guests import find_drivers  # noqa: PLC0415

    mark, report = stage.mark, stage.proof.report
    if lack := _find_hindrance(stage):
        raise MissingError(lack)
    arch = report.machine or None
    choice = find_drivers(stage.manifest, stage.world, driver, arch, medium=mark.media)
    release = find_release(stage.manifest.machine.os)
    if choice.driver is None or release is None:
        notes = "; ".join(choice.notes)
        raise MissingError(choice.problem or notes or f"{mark.media} is not on this host any more")
    path = choice.driver.path.replace("/", "\\")
    return InstallDriver(PNPUTIL, release.list_arguments(f"{ANY_DRIVE}\\{path}"), LIMIT, driver)


def _find_hindrance(stage: Stage) -> str:
    """Return why the agent cannot install the driver now; empty if it can."""
    mark, report, live = stage.mark, stage.proof.report, stage.reading.view.live_xml
    if find_lack(mark, report, live):
        return "its guest agent must answer first"
    if not report.is_windows:
        return f"the guest is not a Windows: its agent calls it {report.system!r}"
    if report.driver is not None and report.driver.hindrance:
        return report.driver.hindrance
    if not mark.media:
        return "no virtio-win ISO that suits the guest was on this host when the change began"
    if not has_drivers(live, mark):
        return f"the guest gets the CD-ROM with {mark.media} at its next start"
    return ""


def _explain_driver(stage: Stage) -> str:
    """Say how the driver gets into the guest."""
    mark = stage.mark
    modules = [STORAGE_MODULES[mark.bus]] if mark.bus else []
    modules += [NETWORK_MODULE] if mark.model else []
    name = shlex.quote(stage.manifest.name)
    end = f"To end the bus change: virt-reconciler apply --abort-bus-change {name} MANIFESTS"
    if stage.proof.report.is_windows or stage.manifest.lifecycle.bus_change.mode is None:
        return f"In the guest, install the drivers of virtio-win. {end}"
    load = f"In the guest: modprobe {'-a ' if len(modules) > 1 else ''}{' '.join(modules)}"
    if not mark.bus:
        return f"{load}. {end}"
    return (
        f"{load}, and put {modules[0]} into the initramfs (dracut --force --add-drivers "
        f"{modules[0]}; on Debian: update-initramfs -u). {end}"
    )
