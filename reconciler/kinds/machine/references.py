"""Which objects a machine refers to, and what its plan depends on, as digests. Pure."""

from __future__ import annotations

from typing import Collection, Iterator, List, Mapping, Optional, Tuple, Union

from reconciler.core.documents import READING, WRITING, Claim, DocumentPath, Finding, Together
from reconciler.core.frozen import replace
from reconciler.core.guests import GENERALIZE, is_windows
from reconciler.core.images import DEFAULT_POOL, normalise
from reconciler.core.machine import Cdrom, Disk, Interface, Machine
from reconciler.core.manifest import TEMPLATE, Desired, MachineManifest, TemplateManifest
from reconciler.core.names import IMAGES, volume_name
from reconciler.core.secrets import hide_secrets
from reconciler.core.world import Reading, VolumeView, World
from reconciler.errors import ReconcilerError
from reconciler.kinds.machine.checks import items_of
from reconciler.kinds.machine.first_boot_checks import check_identity
from reconciler.kinds.machine.planning.images import all_volumes, template_image
from reconciler.kinds.machine.planning.seed_contents import has_cloudbase


def find_basis(manifest: MachineManifest, desired: Desired, world: World) -> Mapping[str, object]:
    """Return the domain, the templates and the volumes that the machine's plan depends on."""
    reading = world.domains.get(manifest.name)
    return {
        "domain": _definition(reading),
        "template": [
            *_templates(manifest.machine, desired, world),
            *(_definition(world.domains.get(name)) for name in _list_origins(manifest.machine)),
        ],
        "volume": list(_volumes(manifest.machine, reading, world)),
    }


def _list_origins(machine: Machine) -> List[str]:
    return sorted({disk.origin.machine for disk in machine.disks or () if disk.origin is not None})


def _definition(reading: object) -> object:
    if not isinstance(reading, Reading):
        return None
    view = reading.view
    return (
        view.uuid,
        hide_secrets(view.persistent_xml),  # the digest of a short password is as good as it
        view.state,
        view.state_reason,
        view.autostart,
        view.saved,
    )


def _templates(machine: Machine, desired: Desired, world: World) -> Iterator[object]:
    for name in sorted({disk.template for disk in machine.disks or () if disk.template}):
        template = desired.template(name)
        yield template and (template.generation, template.host)
        yield _image(template, world)


def _image(template: Optional[TemplateManifest], world: World) -> object:
    """Return the template's image with the time of its last change; None where it is not known.

    Which image a list names is in the steps of a clone; no other plan depends on it.
    """
    try:
        is_listed = template and template.address and template.address.checksums
        return template and not is_listed and template_image(template, world, "")
    except ReconcilerError:
        return None


def _volumes(machine: Machine, reading: object, world: World) -> Iterator[VolumeView]:
    """Yield the volumes of the machine's drives, and those that have the names of new ones.

    A guest writes to its disks all the time, so when and how much is left out.
    """
    sides = [machine, reading.persistent] if isinstance(reading, Reading) else [machine]
    paths = {disk.source for side in sides for disk in side.disks or ()}
    paths |= {cdrom.media for side in sides for cdrom in side.cdroms or ()}
    names = {
        (disk.pool or DEFAULT_POOL, volume_name(machine.name, disk.name, image))
        for disk in machine.disks or ()
        for image in IMAGES
    }
    drives: Tuple[Union[Disk, Cdrom], ...] = (*(machine.disks or ()), *(machine.cdroms or ()))
    names |= {(drive.pool or DEFAULT_POOL, drive.volume) for drive in drives if drive.volume}
    for volume in sorted(all_volumes(world), key=lambda volume: volume.path):
        named = f"{volume.pool}/{volume.name}"  # as a domain says it that has a volume of a pool
        if {volume.path, named} & paths or (volume.pool, volume.name) in names:
            yield replace(volume, changed_at="", allocation=None)


_Key = Tuple[str, ...]
ONE_SOURCE = "give exactly one of template, volume, path, or clone with machine"


def claims_of_machine(number: int, manifest: MachineManifest) -> Iterator[Claim]:
    """Yield the UUID, addresses and images that only this machine may have."""
    machine = manifest.machine
    if machine.uuid is not None:
        yield Claim(number, ("spec", "uuid"), ("uuid", machine.uuid))
    if manifest.windows is not None:
        name = ("computer name", manifest.windows.computer_name.upper())
        yield Claim(number, ("spec", "windows"), name)
    for path, interface in items_of(machine, "interfaces"):
        if interface.mac is not None:
            yield Claim(number, (*path, "mac"), ("mac", interface.mac))
        for index, address in enumerate(interface.addresses):
            at = (*path, "addresses", index)
            yield Claim(number, at, _key_of_address(interface, address), manifest.host)
    disks = {disk.name: (path, disk) for path, disk in items_of(machine, "disks")}
    for path, disk in disks.values():  # once by name: two of one name are told elsewhere
        where, key = _image_of(path, disk, machine.name)
        if key is not None:
            yield Claim(
                number=number,
                path=where,
                key=key,
                host=manifest.host,
                shared=_find_sharing(disk),
                is_raw=disk.format in (None, "raw"),
            )


def words_of_machine(manifest: MachineManifest) -> Iterator[str]:
    """Yield the addresses and images that another manifest would have to contain to clash."""
    machine = manifest.machine
    if manifest.windows is not None:
        yield manifest.windows.computer_name
    for card in machine.interfaces or ():
        yield from (word for word in (card.mac, *card.addresses) if word)
    for disk in machine.disks or ():
        yield from (text for text in (disk.source, disk.volume) if text)
        yield from (volume_name(machine.name, disk.name, image) for image in IMAGES)


def _key_of_address(card: Interface, address: str) -> _Key:
    """Return the address without its prefix, and where it is: other networks may have it too."""
    return "address", address.partition("/")[0].lower(), card.network or "", card.bridge or ""


def _find_sharing(disk: Disk) -> str:
    if disk.readonly:
        return READING
    return WRITING if disk.shareable else ""


def _image_of(path: DocumentPath, disk: Disk, machine: str) -> Tuple[DocumentPath, Optional[_Key]]:
    """Return what the disk writes to, also where the volume is still to be made."""
    if disk.source is not None:
        return (*path, "source", "path"), ("path", normalise(disk.source))
    pool = disk.pool or DEFAULT_POOL
    if disk.volume is not None:
        return (*path, "source", "volume"), ("volume", pool, disk.volume)
    makers = (disk.size, disk.template, disk.origin, disk.imported)
    if all(maker is None for maker in makers):
        return path, None
    return path, ("volume", pool, volume_name(machine, disk.name, disk.format or "qcow2"))


def check_templates(
    manifest: MachineManifest, documents: Together, spoiled: Collection[int]
) -> Iterator[Finding]:
    """Yield what is wrong with the templates that disks name, and with what they have inside."""
    is_cloudbase = has_cloudbase(manifest, documents.desired)
    yield from check_identity(manifest, is_cloudbase=is_cloudbase)
    for path, disk in items_of(manifest.machine, "disks"):
        if disk.origin is not None and disk.template is not None:
            yield Finding((*path, "source"), ONE_SOURCE)
        if disk.clone is not None and disk.template is None:
            yield Finding((*path, "source"), "clone has no effect without template")
        if disk.origin is not None and disk.origin.machine == manifest.name:
            where = (*path, "source", "clone", "machine")
            yield Finding(where, "a machine cannot be cloned from itself")
        if disk.template is not None:
            where = (*path, "source", "template")
            message = _check_template(disk.template, manifest.machine.os, documents, spoiled)
            if message:
                yield Finding(where, message)


def _check_template(
    name: str, os: Optional[str], documents: Together, spoiled: Collection[int]
) -> Optional[str]:
    numbers = documents.numbers.get(TEMPLATE, {})
    if name not in numbers:
        there = ", ".join(sorted(numbers)) or "none"
        return f"no Template {name!r} among the given manifests; there are: {there}"
    if numbers[name] in spoiled:
        return f"Template {name!r} is itself invalid"
    template = documents.manifests[numbers[name]]
    if isinstance(template, TemplateManifest) and template.generalized is None and is_windows(os):
        return f"{os} is Windows, and Template {name!r} is not generalized: {GENERALIZE}"
    return None
