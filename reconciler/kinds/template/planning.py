"""Whether and as what the image of a template is fetched, and which images nobody names. Pure."""

from __future__ import annotations

from typing import (
    Callable,
    FrozenSet,
    List,
    Optional,
    Set,
    Tuple,
    Union,
)

from reconciler.core.faults import isolate
from reconciler.core.frozen import regex
from reconciler.core.images import DEFAULT_POOL, FILE_POOLS
from reconciler.core.manifest import (
    TEMPLATE,
    Desired,
    ImageAddress,
    TemplateManifest,
    is_image_of,
)
from reconciler.core.plan import (
    Action,
    ActionKind,
    Change,
    Effect,
    PlanOptions,
    failed_action,
)
from reconciler.core.transfers import FetchImage
from reconciler.core.units import format_roughly
from reconciler.core.world import PoolView, Unknown, VolumeView, World
from reconciler.errors import MissingError, ReconcilerError
from reconciler.kinds.api import Sighting, settle_template

IMAGE_NAME = regex(r"(?P<image>.+-[0-9a-f]{12}\.(?:qcow2|raw))(?P<end>\.download|\.unpacking)?")


def make_sighting(manifest: TemplateManifest, world: World) -> Optional[Sighting]:
    """Return the image as the loop knows it; None if it is not there."""
    image = find_image(manifest, world)
    return None if image is None else Sighting("present", f"as {image}", parts=(image,))


def find_image(manifest: TemplateManifest, world: World) -> Optional[str]:
    """Return POOL/VOLUME of a template's image; None if it is not there.

    As long as it is not known which of several the list has, the newest is meant.
    """
    name = manifest.pool or DEFAULT_POOL
    pool = world.find_pool(name)
    there = pool.volumes.values() if isinstance(pool, PoolView) else ()
    if manifest.volume is None:
        found = [volume for volume in there if is_image_of(volume.name, manifest)]
        newest = max(found, key=lambda volume: (volume.changed_at, volume.name), default=None)
        return None if newest is None else f"{name}/{newest.name}"
    is_there = any(volume.name == manifest.volume for volume in there)
    return f"{name}/{manifest.volume}" if is_there else None


def plan_template(
    manifest: TemplateManifest,
    world: World,
    options: PlanOptions,
    find_demand: Callable[[], bool],
) -> Action:
    """Plan to fetch the image, if it is not there and somebody needs it."""
    try:
        return isolate(_plan, manifest, world, options, find_demand)
    except ReconcilerError as error:
        return failed_action(TEMPLATE, manifest.name, error)


def plan_pull(manifest: TemplateManifest, world: World) -> Action:
    """Plan to fetch the image, whether or not somebody needs it."""
    return plan_template(manifest, world, PlanOptions(), lambda: True)


def find_unnamed(desired: Desired, world: World) -> Tuple[VolumeView, ...]:
    """Return the volumes that may be images of addresses, whole or not, and nobody names.

    Of a template whose list of checksums cannot be read, every image is kept.
    """
    named: Set[Tuple[str, Optional[str]]] = set()
    kept: List[TemplateManifest] = []
    for template in desired.templates:
        try:
            named.add((template.pool or DEFAULT_POOL, settle_template(template, world).volume))
        except MissingError:
            kept.append(template)
    return tuple(
        volume
        for pool in world.list_pools()
        for name, volume in sorted(pool.volumes.items())
        for found in [IMAGE_NAME.fullmatch(name)]
        if found and pool.type in FILE_POOLS and (pool.name, found["image"]) not in named
        if not any(is_image_of(found["image"], template) for template in kept)
    )


def find_user(path: str, domains: FrozenSet[str], world: World) -> str:
    """Say what uses an image; empty if nothing does."""
    users = sorted({use.domain for use in world.images.find_users(path)})
    if users:
        return f"used by domain {', '.join(users[:3])}"
    overlays = world.images.find_overlays(path)
    if overlays:
        return f"{', '.join(overlays[:3])} lies over it"
    snapshots = world.images.find_snapshot_users(path, domains)
    return f"a snapshot of domain {', '.join(snapshots[:3])} needs it" if snapshots else ""


def _plan(
    manifest: TemplateManifest,
    world: World,
    options: PlanOptions,
    find_demand: Callable[[], bool],
) -> Action:
    """Plan it. A list of checksums is read only for a machine that is about to be made."""
    nothing = Action(TEMPLATE, manifest.name, ActionKind.NONE)
    former = find_image(manifest, world)
    if manifest.address is None or (former and manifest.volume) or not find_demand():
        return nothing
    manifest = settle_template(manifest, world)
    if find_image(manifest, world):
        return nothing
    busy = world.busy.get(manifest.key)
    if busy:
        held = ActionKind.WITHHELD
        return Action(TEMPLATE, manifest.name, held, reason=busy, transient=True)
    name, address = manifest.pool or DEFAULT_POOL, manifest.address
    assert address is not None  # noqa: S101 - it was there before it was settled
    pool = world.find_pool(name)
    if isinstance(pool, Unknown):
        raise MissingError(f"image.pool: storage pool {name!r}: {pool.reason}")
    length = None if options.unattended else world.find_length(address.url)
    if isinstance(length, int) and pool.available is not None and length > pool.available:
        raise MissingError(
            f"image.url: {address.url} is {format_roughly(length)}, and storage pool {name!r} has "
            f"{format_roughly(pool.available)} free"
        )
    return _fetch(manifest, address, length, former)


def _fetch(
    manifest: TemplateManifest,
    address: ImageAddress,
    length: Union[int, Unknown, None],
    former: Optional[str],
) -> Action:
    name, volume = manifest.pool or DEFAULT_POOL, manifest.volume or ""
    size = format_roughly(length) if isinstance(length, int) else "of unknown size"
    about = f"fetched from {address.url} ({size}) as {name}/{volume}"
    listed = address.checksums.url if address.checksums else ""
    step = FetchImage(
        url=address.url,
        sha256=address.sha256,
        pool=name,
        name=volume,
        format=address.format,
        listed=listed,
    )
    notes = [f"its size is not known: {length.reason}"] if isinstance(length, Unknown) else []
    if listed and former:
        notes.append(
            f"{listed} names another image than {former}, which stays for the clones it has"
        )
    return Action(
        kind=TEMPLATE,
        name=manifest.name,
        action=ActionKind.CREATE,
        changes=(Change("image", None, about, Effect.OFFLINE),),
        steps=(step,),
        notes=tuple(notes),
    )
