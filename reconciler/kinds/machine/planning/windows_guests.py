"""What is said of Windows guests: what cannot work, what is old, which drivers are there. Pure.

Loaded only where a manifest is for a Windows.
"""

from __future__ import annotations

from typing import Dict, Iterable, Iterator, List, Mapping, Optional, Tuple

from reconciler.core.documents import Finding
from reconciler.core.frozen import replace
from reconciler.core.guest import STORAGE_DRIVERS
from reconciler.core.machine import Disk, Machine, chipset_of
from reconciler.core.manifest import MachineManifest
from reconciler.core.plan import Action, ActionKind, CreateVolume
from reconciler.core.virtio_win import NETWORK_DRIVER, DriverMedium, is_medium_name
from reconciler.core.windows_drivers import (
    DriverChoice,
    WindowsRelease,
    advise_version,
    choose_drivers,
    find_release,
    load_matrix,
    warn_named,
)
from reconciler.core.world import Unknown, World
from reconciler.errors import MissingError
from reconciler.kinds.machine.match import Difference

SECURE = "uefi-secure"
_UEFI = ("uefi", SECURE)
_SHIMMED = ("vga", "qxl")  # the video for which OVMF imitates a VGA BIOS
_OLD_CHIPSET = (
    "Rocky and RHEL 9 have it as pc-i440fx-rhel7.6.0 alone, and call it deprecated: "
    "https://gitlab.com/redhat/centos-stream/src/qemu-kvm/-/merge_requests/78"
)


def check_windows(machine: Machine) -> Iterator[Finding]:
    """Yield what cannot work in this Windows, whatever the host offers."""
    release = find_release(machine.os)
    if release is None or machine.firmware not in _UEFI:
        return
    if release.uefi.value == "no":
        text = f"{release.name}: {release.uefi.text}; set firmware: bios ({release.uefi.source})"
        yield Finding(("spec", "firmware"), text)
    elif machine.firmware == SECURE and not release.has_secure_boot:
        (rated,) = release.secure_boot
        text = f"{release.name}: {rated.text}; set firmware: bios ({rated.source})"
        yield Finding(("spec", "firmware"), text)


def warn_windows(machine: Machine) -> Iterator[str]:
    """Yield what a person should know of this Windows before it is created."""
    release = find_release(machine.os)
    if release is None:
        yield from _warn_gap(machine)
        return
    yield from _warn_chipset(release, machine)
    yield from _warn_firmware(release, machine)
    yield from _warn_buses(release, machine)
    media = [*list_own_media(machine)]
    yield from (f"cdroms: {text}" for text in warn_named(machine.os, media))


def _warn_gap(machine: Machine) -> Iterator[str]:
    gap = load_matrix().gaps.get(machine.os or "")
    devices = [disk.bus for disk in machine.disks or ()]
    devices += [card.model for card in machine.interfaces or ()]
    if gap is not None and any(name in ("virtio", "scsi") for name in devices):
        yield f"os: {machine.os}: {gap.text}; use ide and rtl8139 ({gap.source})"


def _warn_chipset(release: WindowsRelease, machine: Machine) -> Iterator[str]:
    wanted = release.chipset.value
    if wanted == "pc" and chipset_of(machine.machine or "q35") != wanted:
        yield (
            f"machine: {release.name}: {release.boots_from.text} ({release.boots_from.source}); "
            f"set machine: pc and bus: ide. {_OLD_CHIPSET}"
        )


def _warn_firmware(release: WindowsRelease, machine: Machine) -> Iterator[str]:
    uefi = release.uefi
    is_uefi = machine.firmware in _UEFI
    if uefi.value == "limited" and is_uefi and machine.video not in _SHIMMED:
        yield f"firmware: {release.name} boots from UEFI with limits: {uefi.text} ({uefi.source})"
    if uefi.value == "needed" and machine.firmware == "bios":
        yield f"firmware: {release.name} needs UEFI: {uefi.text} ({uefi.source})"
    if release.tpm is not None and machine.tpm is False:
        yield f"tpm: {release.name}: {release.tpm.text}; set tpm: true ({release.tpm.source})"


def _warn_buses(release: WindowsRelease, machine: Machine) -> Iterator[str]:
    for disk in machine.disks or ():
        driver = STORAGE_DRIVERS.get(disk.bus or "")
        if driver is not None and driver not in release.storage:
            choice = choose_drivers(release.os, driver, ())
            yield f"disks[{disk.name}].bus: {choice.problem}"


def list_own_media(machine: Machine) -> Iterator[str]:
    """Yield the virtio-win ISOs that the machine's own drives have: paths, or POOL/VOLUME."""
    for cdrom in machine.cdroms or ():
        place = cdrom.media or (f"{cdrom.pool or 'default'}/{cdrom.volume}" if cdrom.volume else "")
        if is_medium_name(place):
            yield place


def find_drivers(
    manifest: MachineManifest,
    world: World,
    driver: str,
    arch: Optional[str] = None,
    *,
    only_isos: bool = False,
    medium: str = "",
) -> DriverChoice:
    """Choose the virtio-win medium that suits a Windows, and find a driver on it.

    `driver` is `STORAGE_DRIVERS[bus]` or `NETWORK_DRIVER`. Asks the world for the media: those of
    its own drives, those that the Host names, or those in the usual places. `arch` is the guest's,
    as its agent says it. `medium` is the path of the only one that counts. What could not be read
    is in the notes, where nothing else suits.
    """
    media: Dict[str, DriverMedium] = {}
    unseen: List[str] = []
    for place in (*list_own_media(manifest.machine), ""):
        found = world.find_driver_media(place)
        if isinstance(found, Unknown):
            unseen.append(found.reason)
            continue
        named = "" if found.place == place else "spec.virtioWin of the Host: "
        unseen += [f"{named}{reason}" for reason in found.unseen]
        media.update((known.path, known) for known in found.media)
    usable = [
        known
        for known in media.values()
        if not (only_isos and known.is_folder) and medium in ("", known.path)
    ]
    choice = choose_drivers(
        manifest.machine.os,
        driver,
        usable,
        secure_boot=manifest.machine.firmware == SECURE,
        arch=arch,
    )
    if choice.medium is not None or not unseen:
        return choice
    notes = tuple(f"not seen: {reason}" for reason in dict.fromkeys(unseen))
    return replace(choice, notes=(*choice.notes, *notes))


def find_unsuited(
    manifest: MachineManifest, differences: Iterable[Difference], world: World
) -> Mapping[str, str]:
    """Return why single disks and cards of a Windows are not moved: no driver at hand suits it."""
    found = {}
    is_staged = manifest.lifecycle.bus_change.is_staged(manifest.machine.os)
    for difference in differences:
        driver = None
        if difference.field == "disks[].bus":
            driver = STORAGE_DRIVERS.get(str(difference.desired))
        elif difference.needs_card_driver and is_staged:
            driver = NETWORK_DRIVER
        choice = find_drivers(manifest, world, driver) if driver else None
        if choice is not None and choice.problem:
            found[difference.path] = choice.problem
    return found


def settle_installation(action: Action, manifest: MachineManifest, world: World) -> Action:
    """Return the creation of a Windows with notes on its drivers and on what it cannot do.

    Raises MissingError where it is to be installed on a bus for which no medium at hand has a
    driver that suits it. What is on a disk that is cloned or kept has its drivers already.
    """
    if action.action is not ActionKind.CREATE:
        return action
    notes: List[str] = []
    release = find_release(manifest.machine.os)
    made = {step.disk for step in action.steps if isinstance(step, CreateVolume)}
    blank = [disk for disk in manifest.machine.disks or () if _is_blank(disk)]
    new = [disk for disk in blank if disk.name in made]
    disks = {disk.bus or "": disk for disk in new if disk.bus in STORAGE_DRIVERS}
    for bus, disk in disks.items():
        choice = find_drivers(manifest, world, STORAGE_DRIVERS[bus])
        if choice.problem and release is not None:
            raise MissingError(f"disks[{disk.name}].bus: {choice.problem}")
        notes += _describe(disk, choice, release)
    return replace(action, notes=(*action.notes, *warn_windows(manifest.machine), *notes))


def _is_blank(disk: Disk) -> bool:
    origins = (disk.source, disk.volume, disk.template, disk.origin)
    return all(origin is None for origin in origins)


def _describe(
    disk: Disk, choice: DriverChoice, release: Optional[WindowsRelease]
) -> Tuple[str, ...]:
    """Say where the setup of Windows finds the driver for a disk."""
    where = f"disks[{disk.name}].bus: the setup of Windows needs the driver of {disk.bus}"
    if choice.medium is not None and choice.driver is not None:
        return (f"{where}: {choice.driver.path} on {choice.medium}", *choice.notes)
    if choice.notes:
        return (f"{where}; whether this host has virtio-win is not known", *choice.notes)
    if release is None:
        return ()
    return (f"{where}, and no virtio-win is on this host; {advise_version(release)}",)
