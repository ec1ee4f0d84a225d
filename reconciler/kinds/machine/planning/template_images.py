"""What a template's image must be like to be cloned: prepared by tools, or generalized. Pure."""

from __future__ import annotations

from typing import Optional, Tuple

from reconciler.core.guests import is_windows
from reconciler.core.images import FILE_POOLS
from reconciler.core.manifest import TemplateManifest
from reconciler.core.preparation import (
    Preparation,
    list_injections,
    refuse_injection,
    refuse_unknown,
)
from reconciler.core.windows_images import NO_WINDOWS, describe_image, refuse_open
from reconciler.core.world import FileKind, PoolView, Unknown, VolumeView, World
from reconciler.errors import MissingError, ReconcilerError, TerminalError


def refuse_unprepared(template: TemplateManifest, world: World, pool: PoolView, path: str) -> None:
    """Raise if nothing on the host can prepare a clone in that pool as the template says."""
    if template.preparation is None:
        return
    try:
        refuse_untooled(template.preparation, world, pool)
    except ReconcilerError as error:
        raise type(error)(f"{path}: template {template.name!r}: {error}") from error


def refuse_untooled(
    preparation: Preparation, world: World, pool: PoolView, inject: str = "spec.inject"
) -> None:
    """Raise if nothing on the host can prepare an image in that pool.

    `inject` is the place in the manifest that says what is put into a Windows.
    """
    field = "spec.prepare" if preparation.seals else inject
    if pool.type not in FILE_POOLS:
        raise TerminalError(
            f"{field} needs a pool of files ({', '.join(sorted(FILE_POOLS))}), and "
            f"{pool.name!r} is of type {pool.type}; give the disk another pool"
        )
    tools = world.find_tools(pool.path)
    if isinstance(tools, Unknown):
        raise MissingError(f"{field}: {tools.reason}")
    refuse_unknown(preparation, tools)
    if preparation.injection is None:
        return
    refuse_injection(preparation.injection, tools, inject)
    for option, path in list_injections(preparation.injection):
        found = world.find_file(path)
        if found is not None and found.kind is FileKind.MISSING:
            raise MissingError(f"{inject}: {path} does not exist on this host ({option})")


def find_sealing(
    template: TemplateManifest, os: Optional[str], volume: VolumeView, world: World, path: str
) -> Tuple[str, str]:
    """Return what is known of the Windows in a template's image; empty where there is none.

    Besides, the system to look for in an image that is fetched first.
    Raises RefusedError for one that is not generalized. A template that does not say what it is may
    be that of a data disk.
    """
    if not is_windows(template.os or os):
        return "", ""
    where = f"{path}: template {template.name!r}"
    image = world.find_windows(volume.path, volume.format)
    if isinstance(image, Unknown):
        raise MissingError(f"{where}: {image.reason}")
    if template.os is None and image.fault == NO_WINDOWS:
        return "", ""
    refuse_open(image, where, volume.path, template.os or os)
    is_fetched = template.address is not None and bool(image.unchecked)
    system = template.os or os or ""
    return describe_image(image, template.generalized), system if is_fetched else ""
