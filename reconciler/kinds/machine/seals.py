"""What a plan of a machine depends on besides its manifest, to be sealed in a plan file. Pure."""

from __future__ import annotations

from typing import Iterator, Mapping, Optional, Tuple, Union

from reconciler.core.frozen import replace
from reconciler.core.machine import Cdrom, Disk, Machine
from reconciler.core.manifest import Desired, MachineManifest, TemplateManifest
from reconciler.core.names import IMAGES, volume_name
from reconciler.core.world import Reading, VolumeView, World
from reconciler.errors import ReconcilerError
from reconciler.kinds.machine.planning.images import DEFAULT_POOL, all_volumes, template_image


def find_basis(manifest: MachineManifest, desired: Desired, world: World) -> Mapping[str, object]:
    """Return the domain, the templates and the volumes that the machine's plan depends on."""
    reading = world.domains.get(manifest.name)
    return {
        "domain": _definition(reading),
        "template": list(_templates(manifest.machine, desired, world)),
        "volume": list(_volumes(manifest.machine, reading, world)),
    }


def _definition(reading: object) -> object:
    if not isinstance(reading, Reading):
        return None
    view = reading.view
    return (
        view.uuid,
        view.persistent_xml,
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
    """Return the template's image with the time of its last change; None where it is not known."""
    try:
        return template and template_image(template, world, "")
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
