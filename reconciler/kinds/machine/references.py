"""What machines have for themselves, and what is wrong with the templates that they name. Pure."""

from __future__ import annotations

from typing import Collection, Iterator, Optional, Tuple

from reconciler.core.documents import READING, WRITING, Claim, DocumentPath, Finding, Together
from reconciler.core.guests import GENERALIZE, is_windows
from reconciler.core.images import normalise
from reconciler.core.machine import Disk
from reconciler.core.manifest import TEMPLATE, MachineManifest, TemplateManifest
from reconciler.core.names import IMAGES, volume_name
from reconciler.kinds.machine.checks import items_of

_DEFAULT_POOL = "default"
_Key = Tuple[str, ...]


def claims_of_machine(number: int, manifest: MachineManifest) -> Iterator[Claim]:
    """Yield the UUID, addresses and images that only this machine may have."""
    machine = manifest.machine
    if machine.uuid is not None:
        yield Claim(number, ("spec", "uuid"), ("uuid", machine.uuid))
    for path, one in items_of(machine, "interfaces"):
        if one.mac is not None:
            yield Claim(number, (*path, "mac"), ("mac", one.mac))
    disks = {disk.name: (path, disk) for path, disk in items_of(machine, "disks")}
    for path, disk in disks.values():  # once by name: two of one name are told elsewhere
        where, key = _image_of(path, disk, machine.name)
        if key is not None:
            yield Claim(
                number, where, key, manifest.host, _find_sharing(disk), disk.format in (None, "raw")
            )


def words_of_machine(manifest: MachineManifest) -> Iterator[str]:
    """Yield the addresses and images that another manifest would have to contain to clash."""
    machine = manifest.machine
    yield from (card.mac for card in machine.interfaces or () if card.mac)
    for disk in machine.disks or ():
        yield from (text for text in (disk.source, disk.volume) if text)
        yield from (volume_name(machine.name, disk.name, image) for image in IMAGES)


def _find_sharing(disk: Disk) -> str:
    if disk.readonly:
        return READING
    return WRITING if disk.shareable else ""


def _image_of(path: DocumentPath, disk: Disk, machine: str) -> Tuple[DocumentPath, Optional[_Key]]:
    """Return what the disk writes to, also where the volume is still to be made."""
    if disk.source is not None:
        return (*path, "source", "path"), ("path", normalise(disk.source))
    pool = disk.pool or _DEFAULT_POOL
    if disk.volume is not None:
        return (*path, "source", "volume"), ("volume", pool, disk.volume)
    if disk.size is None and disk.template is None:
        return path, None
    return path, ("volume", pool, volume_name(machine, disk.name, disk.format or "qcow2"))


def check_templates(
    manifest: MachineManifest, documents: Together, spoiled: Collection[int]
) -> Iterator[Finding]:
    """Yield what is wrong with the templates that disks name."""
    for path, disk in items_of(manifest.machine, "disks"):
        if disk.template is not None:
            where = (*path, "source", "template")
            message = _check_template(disk.template, manifest.machine.os, documents, spoiled)
            if message:
                yield Finding(where, message)


def _check_template(
    name: str, os: Optional[str], documents: Together, spoiled: Collection[int]
) -> Optional[str]:
    numbers = [one for one, known in documents.names.items() if known == (TEMPLATE, name)]
    if not numbers:
        there = ", ".join(
            sorted({known for kind, known in documents.names.values() if kind == TEMPLATE})
        )
        return f"no Template {name!r} among the given manifests; there are: {there or 'none'}"
    if any(number in spoiled for number in numbers):
        return f"Template {name!r} is itself invalid"
    template = documents.manifests[numbers[0]]
    if isinstance(template, TemplateManifest) and template.generalized is None and is_windows(os):
        return f"{os} is Windows, and Template {name!r} is not generalized: {GENERALIZE}"
    return None
