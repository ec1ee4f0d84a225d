"""Disks that are imported from another hypervisor: what is copied, and by which way. Pure.

Loaded only for a machine that is made and has such a disk.
"""

from __future__ import annotations

import os
from typing import Callable, Dict, Iterable, Iterator, List, Optional, Tuple

from reconciler.core.frozen import frozen, replace
from reconciler.core.guests import is_windows
from reconciler.core.images import FILE_POOLS
from reconciler.core.imports import (
    AUTO,
    DISK,
    PLAIN_BUSES,
    QEMU_IMG,
    VIRT_V2V,
    ConvertMachine,
    FileStamp,
    ForeignImage,
    ForeignSource,
    ImportDisk,
    ImportedDisk,
    ImportSource,
    ImportTools,
    VerifyImport,
    find_image,
    unseen,
)
from reconciler.core.machine import Disk, chipset_of
from reconciler.core.manifest import MachineManifest
from reconciler.core.plan import CreateVolume, Step
from reconciler.core.preparation import Preparation, PrepareVolume
from reconciler.core.units import format_roughly, format_size
from reconciler.core.world import PoolView, Unknown, World
from reconciler.errors import MissingError, TerminalError
from reconciler.kinds.machine.planning.machine_copies import NewDisk
from reconciler.kinds.machine.planning.template_images import refuse_untooled

# virt-v2v writes its disks first, and they are copied into the volumes then.
_COPIES_OF_V2V = 2
TEMPORARY = "/var/tmp"  # noqa: S108 - mkdtemp makes a folder of its own in it
STEM = ".virt-reconciler-import-{}@"  # no name of a machine has an @
UNKNOWN_IMAGE = ForeignImage(name="", format="raw", capacity=0, data=0, place="", stamps=())


@frozen
class Way:
    """How a disk is imported, and why so."""

    is_v2v: bool
    why: str
    falls_back: bool = False


def import_disk(
    disk: Disk,
    manifest: MachineManifest,
    world: World,
    pool: PoolView,
    make: Callable[[Disk], NewDisk],
    *,
    is_new: bool,
) -> NewDisk:
    """Return the disk with the steps that import it; `make` has those of a blank one.

    `is_new` says that its machine is made as well. Raises TerminalError, MissingError.
    """
    source = disk.imported
    assert source is not None  # noqa: S101 - who calls has seen it
    where = f"disks[{disk.name}].source.import"
    found = _find_source(source, world, where)
    image = _find_image(source, found, where)
    _refuse_shrinking(disk, image)
    tools = _find_tools(pool, world, where)
    work = _Work(disk, source, found, manifest=manifest, where=where)
    way = work.choose_way(tools, is_new=is_new)
    bus = disk.bus or _default_bus(manifest, way)
    new = make(replace(disk, size=max(disk.size or 0, image.capacity) or None, bus=bus))
    *before, volume = new.steps
    assert isinstance(volume, CreateVolume)  # noqa: S101 - it comes last for a blank disk
    target = ImportedDisk(
        disk=disk.name,
        pool=pool.name,
        name=volume.name,
        path=new.disk.source or "",
        format=volume.format,
        image=image,
    )
    filling = work.convert(target, pool, bus, way) if way.is_v2v else ImportDisk(target)
    return NewDisk(
        disk=replace(new.disk, size=disk.size),
        steps=(
            *work.verify(),
            *before,
            volume,
            filling,
            *(() if way.is_v2v else work.inject(target, world, pool)),
        ),
        about=work.describe(image, volume, tools, way),
        notes=tuple(work.find_notes(way)),
        is_together=way.is_v2v,
    )


def _refuse_shrinking(disk: Disk, image: ForeignImage) -> None:
    if disk.size is not None and disk.size < image.capacity:
        raise TerminalError(
            f"disks[{disk.name}].size: {format_size(disk.size)} is smaller than {image.name} "
            f"({format_size(image.capacity)}); a disk is never shrunk"
        )


def _find_source(source: ImportSource, world: World, where: str) -> ForeignSource:
    found = world.find_import(f"{source.kind}:{source.format}:{source.path}")
    if isinstance(found, Unknown):
        raise MissingError(f"{where}.{source.kind}: {found.reason}")  # another file may come
    return found or unseen(source.path)


def _find_tools(pool: PoolView, world: World, where: str) -> ImportTools:
    tools = world.find_import_tools(pool.path)
    if isinstance(tools, Unknown):
        raise MissingError(f"{where}: {tools.reason}")
    return tools or ImportTools()


def _find_image(source: ImportSource, found: ForeignSource, where: str) -> ForeignImage:
    if not found.known:
        return replace(UNKNOWN_IMAGE, name=source.file or os.path.basename(source.path))
    number = find_image(found, source.file)
    if number is not None:
        return found.images[number]
    there = ", ".join(image.name for image in found.images) or "none"
    if source.file:
        raise TerminalError(f"{where}.file: no disk {source.file!r} in it; there are: {there}")
    raise TerminalError(f"{where}.file: name one of its {len(found.images)} disks: {there}")


@frozen
class _Work:
    """One disk that is imported, with what was found in the file."""

    disk: Disk
    source: ImportSource
    found: ForeignSource
    manifest: MachineManifest
    where: str

    def choose_way(self, tools: ImportTools, *, is_new: bool) -> Way:
        """Choose virt-v2v or qemu-img. Raises where what is asked for is not possible."""
        disk, via = self.disk, self.source.via
        if via == QEMU_IMG:
            return Way(is_v2v=False, why="import.via: qemu-img")
        lack = _find_lack(self.source, tools, is_new=is_new)
        if not lack and tools.confined:
            raise MissingError(
                f"{self.where}.via: {tools.confined}; run virt-reconciler apply as root, or set "
                "via: qemu-img"
            )
        if not lack:
            plain = {*PLAIN_BUSES, *([None] if self._is_windows else [])}
            boots = all(item.bus in plain for item in self._list_beside())
            return Way(is_v2v=True, why="", falls_back=via == AUTO and boots)
        if via == VIRT_V2V:
            raise MissingError(f"{self.where}.via: {lack}; install it, or set via: qemu-img")
        if self.found.known and self._is_windows and disk.bus in ("virtio", "scsi"):
            raise TerminalError(
                f"disks[{disk.name}].bus: a Windows that qemu-img copies has no driver for "
                f"{disk.bus} ({lack}); set bus: sata, and change the bus later: "
                "lifecycle.busChange: staged"
            )
        return Way(is_v2v=False, why=lack)

    @property
    def _is_windows(self) -> bool:
        return is_windows(self.manifest.machine.os)

    def _list_beside(self) -> List[Disk]:
        """Return the disks that are imported from the same file."""
        return [
            other
            for other in self.manifest.machine.disks or ()
            if other.imported is not None and other.imported.path == self.source.path
        ]

    def verify(self) -> Iterator[Step]:
        """Yield the verification of the file, if there is anything to verify it by."""
        if self.source.sha256 or self.found.checks:
            yield VerifyImport(self.source.kind, self.found.stamp, self.source.sha256)

    def convert(
        self, target: ImportedDisk, pool: PoolView, bus: Optional[str], way: Way
    ) -> ConvertMachine:
        """Return the conversion of the machine, for this disk."""
        needs_driver = bus in ("virtio", "scsi") or (bus is None and not self._is_windows)
        injection = self.source.injection
        return ConvertMachine(
            machine=self.manifest.name,
            kind=self.source.kind,
            stamp=self.found.stamp,
            sizes=tuple(image.capacity for image in self.found.images),
            targets=((find_image(self.found, target.image.name) or 0, target),),
            falls_back=way.falls_back,
            folder=pool.path if pool.type in FILE_POOLS else TEMPORARY,
            stem=STEM.format(self.manifest.name),
            virtio_disks=(target.disk,) if needs_driver else (),
            virtio_win=injection.virtio_win if injection else "",
        )

    def inject(self, target: ImportedDisk, world: World, pool: PoolView) -> Iterator[Step]:
        """Yield what puts drivers into a copy; virt-v2v does it by itself."""
        if self.source.injection is None:
            return
        preparation = Preparation(injection=self.source.injection, seals=False)
        refuse_untooled(preparation, world, pool, f"{self.where}.inject")
        yield PrepareVolume(
            disk=target.disk,
            pool=target.pool,
            name=target.name,
            path=target.path,
            format=target.format,
            preparation=preparation,
        )

    def describe(
        self, image: ForeignImage, volume: CreateVolume, tools: ImportTools, way: Way
    ) -> str:
        """Return like `import of web.vmdk (vmdk, 60GiB, at most 12.3GiB copied) as …`."""
        size, most = format_size(image.capacity), format_roughly(image.data)
        known = f" ({image.format}, {size}, at most {most} copied)" if image.capacity else ""
        is_alone = self.source.kind == DISK
        name = self.source.path if is_alone else f"{image.name} of {self.source.path}"
        by = "qemu-img as it is"
        if way.is_v2v:
            by = f"virt-v2v {tools.virt_v2v}, which puts virtio drivers into it"
        elif self.source.injection is not None:
            by += ", drivers put in by virt-customize"
        return f"import of {name}{known} as {volume.pool}/{volume.name}, by {by}"

    def find_notes(self, way: Way) -> Iterator[str]:
        """Yield what a person has to know of it."""
        name = self.source.path
        if way.falls_back:
            yield f"{name}: if virt-v2v refuses the machine, qemu-img copies its disks as they are"
        elif way.is_v2v:
            yield f"{name}: if virt-v2v refuses the machine, nothing is imported"
        elif self.source.kind != DISK:
            yield f"{name}: copied by qemu-img as it is: {way.why}"
        yield (
            f"{name}: the machine must be off in VMware until this is done, and must not be "
            "started there afterwards"
        )
        if self._is_windows and way.is_v2v:
            yield "Windows restarts by itself 4 times or more after virt-v2v; let it finish"
        elif self._is_windows:
            yield "Windows finds new hardware at its first start, and may ask for a restart"
        stamps = {stamp.path for image in self.found.images for stamp in image.stamps}
        if self.source.sha256 and stamps - {self.found.stamp.path}:
            yield f"{name}: its sha256 says nothing of the other files that are read"
        missing = self._list_missing()
        if missing:
            yield f"{name}: not imported: {', '.join(missing)}"

    def _list_missing(self) -> List[str]:
        wanted = {item.imported.file for item in self._list_beside() if item.imported}
        names = [image.name for image in self.found.images]
        return [name for name in names if name not in wanted] if len(names) > 1 else []


def _find_lack(source: ImportSource, tools: ImportTools, *, is_new: bool) -> str:
    """Say why virt-v2v does not import it; empty if it does."""
    if source.kind == DISK:
        return "an image alone is copied"
    if not is_new:
        return "virt-v2v converts whole machines, and this machine is there already"
    if tools.lack:
        return tools.lack
    if not tools.virt_v2v:
        return "it is not known here whether virt-v2v is installed"
    if source.kind not in tools.reads:
        return f"virt-v2v {tools.virt_v2v} does not read {source.kind}"
    return ""


def _default_bus(manifest: MachineManifest, way: Way) -> Optional[str]:
    """Return a bus that boots for a disk without `bus`; None: as for any new disk.

    virt-v2v puts virtio into a Linux, and it alone knows what is left then.
    """
    if way.is_v2v:
        return None
    return "ide" if chipset_of(manifest.machine.machine or "q35") == "pc" else "sata"


# Whole plans


def merge_imports(steps: Iterable[Step]) -> Tuple[Step, ...]:
    """Return the steps with one conversion for each machine, and each file verified once."""
    whole: Dict[FileStamp, ConvertMachine] = {}
    found = list(steps)
    for step in found:
        if isinstance(step, ConvertMachine):
            former = whole.get(step.stamp)
            whole[step.stamp] = step if former is None else _merge(former, step)
    last = {
        step.stamp: number for number, step in enumerate(found) if isinstance(step, ConvertMachine)
    }
    verified = set()
    merged: List[Step] = []
    for number, step in enumerate(found):
        if isinstance(step, ConvertMachine):
            merged += [whole[step.stamp]] if last[step.stamp] == number else []
            continue
        if isinstance(step, VerifyImport):
            if step in verified:
                continue
            verified.add(step)
        merged.append(step)
    return tuple(merged)


def _merge(former: ConvertMachine, step: ConvertMachine) -> ConvertMachine:
    return replace(
        former,
        targets=(*former.targets, *step.targets),
        falls_back=former.falls_back and step.falls_back,
        virtio_disks=(*former.virtio_disks, *step.virtio_disks),
        virtio_win=former.virtio_win or step.virtio_win,
    )


def find_costs(steps: Iterable[Step]) -> Iterator[Tuple[str, int]]:
    """Yield pools, and the bytes that imports take of them at once."""
    for step in steps:
        if isinstance(step, ImportDisk):
            yield step.target.pool, step.target.image.data
        elif isinstance(step, ConvertMachine):
            for _, target in step.targets:
                yield target.pool, target.image.data * _COPIES_OF_V2V
