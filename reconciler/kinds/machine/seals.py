"""What an action depends on, as digests: whoever keeps them can tell later what has moved on. Pure.

A digest says that something is another now, and not what it was: no definition and no secret
is in it.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Iterator, Mapping, Optional, Tuple, Union

from reconciler.core.frozen import frozen
from reconciler.core.key import Key
from reconciler.core.machine import Cdrom, Disk, Machine
from reconciler.core.manifest import Desired, MachineManifest, Manifest, TemplateManifest
from reconciler.core.names import IMAGES, volume_name
from reconciler.core.plan import Action, ActionKind, Plan
from reconciler.core.world import Reading, VolumeView, World
from reconciler.errors import ReconcilerError
from reconciler.kinds.machine.planning.images import DEFAULT_POOL, all_volumes, template_image

# In the order in which they are told: what comes first explains what comes after it.
CAUSES: Mapping[str, str] = {
    "manifest": "its manifest was changed",
    "domain": "the domain was changed, made, removed, started or stopped",
    "template": "a template that it is made from was changed, or its image was",
    "volume": "a volume that it uses or gets was changed",
    "steps": "the plan would differ now (time, host, or another version of virt-reconciler)",
}

DONE = "nothing is left to do: it already matches its manifest"


@frozen
class Seal:
    """One object of a plan: what is to happen with it, and the digest of each of `CAUSES`.

    `has_work` tells whether anything is to be done; what is left alone may move on.
    """

    kind: str
    name: str
    has_work: bool
    manifest: str
    domain: str = ""
    template: str = ""
    volume: str = ""
    steps: str = ""


def seal_plan(plan: Plan, desired: Desired, world: World) -> Tuple[Seal, ...]:
    """Seal every action of a plan that was made of these."""
    return tuple(_seal(action, desired, world) for action in plan.actions)


def find_moved(former: Tuple[Seal, ...], present: Tuple[Seal, ...]) -> Tuple[str, ...]:
    """Return a line for each object that has moved on, and why; empty if none has."""
    now = {(one.kind, one.name): one for one in present}
    known = {(one.kind, one.name) for one in former}
    lines = [_compare(one, now.get((one.kind, one.name))) for one in former]
    lines += [
        f"{one.name}: its manifest is new" for key, one in sorted(now.items()) if key not in known
    ]
    return tuple(line for line in lines if line)


def _compare(former: Seal, present: Optional[Seal]) -> str:
    if present is None:
        return f"{former.name}: its manifest is gone, or is for another host now"
    is_done = bool(former.domain) and not present.domain  # so the rest was not looked at
    causes = CAUSES if former.has_work and not is_done else ("manifest",)
    moved = [cause for cause in causes if getattr(former, cause) != getattr(present, cause)]
    if former.has_work and is_done and not moved:
        return f"{former.name}: {DONE}"
    if moved[1:]:  # other steps are what comes of the rest
        moved = [one for one in moved if one != "steps"]
    return f"{former.name}: {'; '.join(CAUSES[one] for one in moved)}" if moved else ""


def _seal(action: Action, desired: Desired, world: World) -> Seal:
    manifest = desired.objects.get(Key(action.kind, action.name))
    seal = Seal(
        action.kind,
        action.name,
        bool(action.steps),
        _digest_values(_meaning(manifest)),
        steps=_digest_values((action.changes, action.steps)),
    )
    # What needs nothing done costs nothing here either.
    if action.action is ActionKind.NONE or not isinstance(manifest, MachineManifest):
        return seal
    reading = world.domains.get(action.name)
    return replace(
        seal,
        domain=_digest_values(_definition(reading)),
        template=_digest_values(list(_templates(manifest.machine, desired, world))),
        volume=_digest_values(list(_volumes(manifest.machine, reading, world))),
    )


def _meaning(manifest: Optional[Manifest]) -> object:
    """Return what a manifest says, without where it was written."""
    return manifest and (manifest.generation, manifest.host)


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
        yield _meaning(template)
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


def _digest_values(value: object) -> str:
    """Return the digest of a value whose `repr` says all of it."""
    return hashlib.sha256(repr(value).encode()).hexdigest()
