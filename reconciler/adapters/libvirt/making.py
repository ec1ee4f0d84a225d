"""One volume that is being made: where, from what, how large, and whom to tell. Makes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional

from reconciler.adapters.libvirt.connections import STORAGE, Connections
from reconciler.adapters.libvirt.lookup import (
    find_by_path,
    find_pool,
    find_volume,
    view_pool,
    view_volume,
)
from reconciler.adapters.libvirt.objects import Pool, Volume
from reconciler.adapters.libvirt.volumes import FILE_POOLS, write_volume_xml
from reconciler.control.ports import Progress
from reconciler.core.plan import CreateVolume
from reconciler.core.units import format_size
from reconciler.core.world import PoolView, VolumeView
from reconciler.errors import RefusedError, TerminalError


@dataclass(frozen=True)
class Origin:
    """The image to clone, in libvirt and as a value."""

    volume: Volume
    view: VolumeView


@dataclass(frozen=True)
class Making:
    """One volume that is being made."""

    connections: Connections
    step: CreateVolume
    progress: Progress
    pool: Pool
    view: PoolView
    source: Optional[Origin]

    @property
    def label(self) -> str:
        """What to call the volume: pool/name."""
        return f"{self.step.pool}/{self.step.name}"

    @property
    def origin(self) -> Origin:
        """The image to clone. Raises TerminalError where the step names none."""
        if self.source is None:
            raise TerminalError(f"volume {self.label}: a {self.step.clone} clone of nothing")
        return self.source

    @property
    def capacity(self) -> int:
        """The size asked for, else that of the image cloned; it was checked to be no less."""
        if self.step.capacity is not None:
            return self.step.capacity
        return self.origin.view.capacity

    @property
    def is_of_files(self) -> bool:
        """Whether the pool's volumes are files."""
        return self.view.type in FILE_POOLS

    def xml(self, capacity: int, backing: Optional[VolumeView] = None) -> str:
        """Describe the volume to libvirt."""
        step = self.step
        return write_volume_xml(self.view.type, step.name, step.format, capacity, backing)


def prepare(connections: Connections, step: CreateVolume, progress: Progress) -> Making:
    """Look up what the step names, and refuse what cannot be done, before anything is made."""
    connection = connections.get(STORAGE)
    pool = find_pool(connection, step.pool)
    source = None
    if step.origin is not None:
        volume = find_by_path(connection, step.origin, is_local=connections.is_local)
        source = Origin(volume, view_volume(volume, ""))
    making = Making(connections, step, progress, pool, view_pool(pool), source)
    _refuse_other_pools(making)
    if source is not None:
        _refuse_other_image(making, source.view)
    if find_volume(pool, step.name) is not None:
        raise taken(making)
    return making


def taken(making: Making) -> RefusedError:
    """Return the refusal of a name that is not ours."""
    return RefusedError(f"volume {making.label} exists already and was left as it is")


def _refuse_other_pools(making: Making) -> None:
    if not making.is_of_files and making.step.clone in {"linked", "reflink"}:
        raise TerminalError(
            f"volume {making.label}: a {making.step.clone} clone needs a pool of files "
            f"({', '.join(sorted(FILE_POOLS))}); pool {making.step.pool!r} is of type "
            f"{making.view.type}: use clone: full"
        )


def _refuse_other_image(making: Making, image: VolumeView) -> None:
    """Refuse an image that is not as planned, and to cut one off."""
    step = making.step
    if step.origin_format not in (None, image.format):
        raise RefusedError(
            f"volume {making.label}: {image.path} is {image.format} now, not {step.origin_format} "
            "as planned; plan again"
        )
    if step.clone == "reflink" and step.format != image.format:
        raise TerminalError(f"volume {making.label}: a reflink keeps the format {image.format}")
    if making.capacity < image.capacity:
        raise RefusedError(
            f"volume {making.label}: {format_size(making.capacity)} is less than the "
            f"{format_size(image.capacity)} of "
            f"{image.path}; an image is never shrunk"
        )
