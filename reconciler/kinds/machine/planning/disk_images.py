"""The image of a disk beside the one that its manifest names, and what the image decides."""

from __future__ import annotations

import json
import posixpath
import shlex
from datetime import datetime, timezone
from typing import Any, Dict, FrozenSet, Iterable, Mapping, Optional, Tuple

from reconciler.core.frozen import frozen, replace
from reconciler.core.images import DEFAULT_POOL, RAW, is_path
from reconciler.core.machine import Disk, Machine
from reconciler.core.manifest import MachineManifest
from reconciler.core.names import IMAGES, IS_ON, SNAPSHOT, Owner, volume_name
from reconciler.core.world import FileKind, Reading, World
from reconciler.kinds.machine.match import Difference, by_name
from reconciler.kinds.machine.planning.images import named_volume, volume_at, with_format


@frozen
class DiskChain:
    """One disk of the manifest beside its image.

    `named` is the image that the manifest, or the machine's own volume, names; `present` the one
    that the domain is on. `snapshot` names the external snapshot that is between them, since
    `since` (Unix time, 0 if not known). `reason` says why a change of the image is withheld.
    """

    disk: str
    target: str
    named: str
    present: str
    snapshot: str = ""
    since: float = 0.0
    reason: str = ""

    @property
    def note(self) -> str:
        """What a person should know of the disk, or an empty text."""
        if not self.snapshot:
            return ""
        return f"disks[{self.disk}]{IS_ON}{self.about} ({self.present} over {self.named})"

    @property
    def about(self) -> str:
        """The snapshot in words."""
        since = f" since {_show_time(self.since)}" if self.since else ""
        return f"{SNAPSHOT}{self.snapshot!r}{since}"


def with_snapshot(chain: DiskChain, domain: str, world: World) -> DiskChain:
    """Return the chain with the snapshot that its image belongs to, by libvirt or by its name."""
    known = world.images.find_snapshot(domain, chain.target, chain.present)
    if known is not None:
        return replace(chain, snapshot=known.name, since=known.created_at)
    # Nobody writes to an image any more once another lies over it.
    base = world.images.find_view(chain.named)
    since = base.changed_at if base is not None else 0
    return replace(chain, snapshot=_guess_snapshot(chain), since=since)


def _guess_snapshot(chain: DiskChain) -> str:
    """Return NAME of `disk.NAME` over `disk.qcow2`, as libvirt calls the files of snapshots."""
    name = posixpath.basename(chain.present)
    stem = posixpath.splitext(posixpath.basename(chain.named))[0]
    return name[len(stem) + 1 :] if name.startswith(f"{stem}.") and name != stem else name


def is_snapshot_file(overlay: str, below: str) -> bool:
    """Whether the overlay is called as libvirt calls the file of a snapshot of the one below."""
    folder, name = posixpath.split(overlay)
    stem, _ = posixpath.splitext(posixpath.basename(below))
    ending = name[len(stem) :]
    return (
        folder == posixpath.dirname(below)
        and name.startswith(f"{stem}.")
        and ending not in (".qcow2", ".img", ".raw")
    )


def find_own_image(disk: str, owner: Optional[Owner]) -> Optional[str]:
    """Return the path of the volume that was made for this disk, as our mark has it."""
    if owner is None:
        return None
    names = {volume_name(name, disk, image) for name in owner.names for image in IMAGES}
    found = [path for path in owner.made if posixpath.basename(path) in names]
    return found[0] if len(found) == 1 else None


def find_reason(
    manifest: MachineManifest,
    disk: Disk,
    chain: DiskChain,
    stored: Disk,
    reading: Reading,
    world: World,
) -> str:
    """Return why the disk is not moved to the image that the manifest names; empty if it is."""
    images = world.images
    if not is_asked(manifest, disk, reading.owner, world):
        if images.can_see(chain.named) and not images.can_see(chain.present):
            name = reading.view.name
            return (
                f"{chain.present}, which the disk is on, is missing; restore it or mount its "
                f"storage. If it is lost, with everything written since, set {chain.named} in "
                f"its place: virsh edit {shlex.quote(name)}"
            )
        return (
            f"the disk is on {chain.present} now: a block commit, pull or copy moved it, or "
            f"someone did; going back to {chain.named} would lose what was written since. "
            f"{_advise(manifest, disk, stored, reading, world)}"
        )
    if images.is_in_chain(chain.present, chain.named):
        present, named = images.find_view(chain.present), images.find_view(chain.named)
        if present is None or named is None or named.changed_at <= present.changed_at:
            return (
                f"{chain.named} lies over {chain.present}, which was written after it: it is "
                "older than the image that the guest uses. "
                f"{_advise(manifest, disk, stored, reading, world)}"
            )
    snapshots = images.find_snapshots(reading.view.name)
    if any(
        images.is_same(snapshot.overlays.get(chain.target), chain.named) for snapshot in snapshots
    ):
        return (
            f"{chain.named} is an older snapshot of this disk than the image that the guest uses. "
            f"{_advise(manifest, disk, stored, reading, world)}"
        )
    return _find_unseen(manifest, disk, chain, stored, reading, world)


def _find_unseen(
    manifest: MachineManifest,
    disk: Disk,
    chain: DiskChain,
    stored: Disk,
    reading: Reading,
    world: World,
) -> str:
    """Return why the disk stays where one of its images, or what is below it, cannot be seen."""
    images, present, named = world.images, chain.present, chain.named
    if is_path(named) and images.can_see(present) and not images.can_see(named):
        return (
            f"{named} is missing, and the disk is on {present}, which exists; restore it or "
            f"mount its storage. {_advise(manifest, disk, stored, reading, world)}"
        )
    if images.is_chain_known(present, stored.format or ""):
        return ""
    parts = images.find_chain(present, stored.format or "")
    gone = next((part for part in parts if is_path(part) and not images.can_see(part)), None)
    if images.can_see(named) and gone is not None:
        below = "" if gone == present else f", which lies below {present},"
        return (
            f"{gone}{below} is missing, so it is not certain that {named} has all that "
            "was on it; mount its storage if it is not mounted; if it was moved there, keep the "
            f"old name too: ln -s {shlex.quote(named)} {shlex.quote(gone)}"
        )
    return (
        f"the backing file cannot be read from here of {present}, so not whether it is {named} "
        "itself; refresh its storage pool (virsh pool-refresh POOL) or plan as root on the host"
    )


def is_asked(manifest: MachineManifest, disk: Disk, owner: Optional[Owner], world: World) -> bool:
    """Whether the manifest names another image than it did when it was applied last."""
    if owner is None:
        return False
    former = _read_disk(owner.spec, disk.name)
    if former is None or former == _read_disk(manifest.spec, disk.name):
        return False
    named = _find_applied(former, disk.name, owner, world)
    return named is None or not world.images.is_same(named, disk.source)


def _read_disk(spec: str, name: str) -> Optional[Mapping[str, Any]]:
    """Return what a spec says of where a disk's image is; None if it does not have the disk."""
    try:
        disks = json.loads(spec).get("disks") or ()
        found = next((disk for disk in disks if disk.get("name") == name), None)
        return found and {"source": found.get("source", {}), "pool": found.get("pool")}
    except (ValueError, TypeError, AttributeError):
        return None


def _find_applied(
    former: Mapping[str, Any], disk: str, owner: Owner, world: World
) -> Optional[str]:
    source = former["source"]
    if "path" in source:
        return str(source["path"])
    if "volume" in source:
        pool = source.get("pool") or former["pool"] or DEFAULT_POOL
        volume = named_volume(world, f"{pool}/{source['volume']}")
        return volume.path if volume else None
    return find_own_image(disk, owner)


def _advise(
    manifest: MachineManifest, disk: Disk, stored: Disk, reading: Reading, world: World
) -> str:
    image = find_lasting(reading.view.name, stored, world)
    volume = volume_at(world, image)
    source = f"{{path: {image}}}"
    if volume is not None:
        source = f"{{volume: {volume.name}, pool: {volume.pool}}}"
    place = manifest.find_disk_source(disk.name)
    where = f"{place.file}, line {place.line}"
    return f"To keep the disk, set disks[{disk.name}].source to {source} ({where})"


def find_lasting(domain: str, disk: Disk, world: World) -> str:
    """Return the image of a disk that a manifest should name: the one below its snapshots."""
    chain = world.images.find_chain(disk.source or "", disk.format or "")
    for image, below in zip(chain, chain[1:]):
        known = world.images.find_snapshot(domain, disk.target or "", image)
        if (known is None and not is_snapshot_file(image, below)) or not is_path(below):
            return image
    return chain[-1]


def _show_time(at: float) -> str:
    return datetime.fromtimestamp(at, timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def follow_images(
    machine: Machine,
    stored: Machine,
    live: Optional[Machine],
    chains: Tuple[DiskChain, ...],
    world: World,
) -> Tuple[Machine, Machine, Optional[Machine]]:
    """Return the three with the size and format of the image that each disk is to have.

    Both belong to the image: of the one that a disk leaves, nothing is compared and nothing grown.
    """
    kept = {chain.disk for chain in chains if chain.reason}
    wanted = {disk.name: disk for disk in machine.disks or () if disk.name not in kept}
    known: Dict[str, Disk] = {}
    for disk in stored.disks or ():
        named = wanted.get(disk.name)
        if named is not None and _leaves(disk, named):
            wanted[disk.name] = _take_format(named, disk, world)
            volume = volume_at(world, named.source)
            known[disk.name] = replace(disk, size=volume.capacity if volume else None)
    running = {
        disk.name: replace(disk, size=wanted[disk.name].size)
        for disk in (live.disks if live else None) or ()
        if disk.name in wanted and _leaves(disk, wanted[disk.name])
    }
    return (
        _with_disks(machine, wanted),
        _with_disks(stored, known),
        _with_disks(live, running) if live is not None else None,
    )


def _leaves(disk: Disk, named: Disk) -> bool:
    """Whether the disk is on another image than the one that it is to have."""
    return None not in (disk.source, named.source) and disk.source != named.source


def _with_disks(machine: Machine, changed: Mapping[str, Disk]) -> Machine:
    if machine.disks is None or not changed:
        return machine
    disks = tuple(changed.get(disk.name, disk) for disk in machine.disks)
    return machine if disks == machine.disks else replace(machine, disks=disks)


def _take_format(named: Disk, present: Disk, world: World) -> Disk:
    """Return the disk with the format of its new image, unless the present one fits as well."""
    if named.format is None and volume_at(world, named.source) is None:
        found = world.find_file(named.source or "")
        view = world.images.find_view(named.source or "")
        if found is not None and found.kind is FileKind.MISSING:
            return named  # which is said elsewhere
        known = view.format or RAW if view is not None and view.identity and view.is_read else ""
        if known == present.format:
            return named
    return with_format(named, world)


def name_grown(differences: Iterable[Difference], machine: Machine) -> Tuple[Difference, ...]:
    """Return the differences; what is to grow is the image that the disk is to have."""
    return tuple(
        replace(
            difference,
            item=replace(item, source=named.source, format=named.format or item.format),
        )
        if difference.field == "disks[].size"
        and isinstance(item, Disk)
        and named is not None
        and named.source
        else difference
        for difference in differences
        for item in [difference.item]
        for named in [by_name(machine.disks, difference.device or "")]
    )


def find_moved(chains: Tuple[DiskChain, ...], differences: Iterable[Difference]) -> FrozenSet[str]:
    """Return the names of the disks that are to have another image than now."""
    found = {
        difference.device for difference in differences if difference.field == "disks[].source"
    }
    kept = {chain.disk for chain in chains if chain.reason}
    return frozenset(disk for disk in found if disk is not None and disk not in kept)
