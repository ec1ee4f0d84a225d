"""Images: which names mean the same one, what lies below it, and who uses it. Pure.

The one place that answers this. A name is a path (or `protocol:name` of an image on the network);
an image is known by its device and inode, or by the number of its block device, so that links, bind
mounts and the several names of a disk in /dev are one image. Where that cannot be seen (a remote
host), names are compared as normalised text, and `Images.can_see` says so.
"""

from __future__ import annotations

import json
import posixpath
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Dict, FrozenSet, Iterator, List, Mapping, Optional, Set, Tuple

RAW = "raw"
_PREFIXES = ("file:", "host_device:")  # QEMU's protocols of a plain path
_NESTED = ("file", "data-file")  # where a json: name keeps the file of a format or filter


@dataclass(frozen=True)
class ImageView:
    """One image, by one of its names, as the host shows it.

    `identity` is the same for all names of one image, and empty where the host cannot tell.
    `backing` is the name of the image directly below, absolute; `data` that of a qcow2's external
    data file. `is_read` is False where what lies below is not known. `changed_at` is Unix time.
    """

    path: str
    identity: str = ""
    format: str = ""
    backing: Optional[str] = None
    backing_format: str = ""
    data: Optional[str] = None
    is_read: bool = True
    changed_at: float = 0.0


@dataclass(frozen=True)
class ImageUse:
    """One disk or drive of a domain that has an image. `disk` is its target.

    `below` are the images that the domain's XML lists below it, nearest first, each with its
    format; `mirror` is the image that a block copy writes to.
    """

    domain: str
    disk: str
    path: str
    format: str = ""
    writes: bool = True
    shareable: bool = False
    is_live: bool = False
    below: Tuple[Tuple[str, str], ...] = ()
    mirror: Optional[str] = None


@dataclass(frozen=True)
class SnapshotView:
    """One of a domain's snapshots. `overlays` maps disk targets to what external ones wrote to.

    `created_at` is Unix time; `images` are those that the domain had then.
    """

    name: str
    created_at: int = 0
    overlays: Mapping[str, str] = field(default_factory=dict)
    images: Tuple[str, ...] = ()


@dataclass(frozen=True)
class Images:
    """The images that a plan may concern.

    `views` is by the name that was asked for. `uses` are those of all domains, where the plan asked
    for them. `snapshots` are by domain, for those where they matter.
    """

    views: Mapping[str, ImageView] = field(default_factory=dict)
    uses: Tuple[ImageUse, ...] = ()
    snapshots: Mapping[str, Tuple[SnapshotView, ...]] = field(default_factory=dict)

    def identify(self, path: str) -> str:
        """Return the image's identity; its normalised name where the host cannot tell."""
        known = self.views.get(path)
        return known.identity if known is not None and known.identity else normalise(path)

    def can_see(self, path: str) -> bool:
        """Whether the image itself could be inspected, not only its name."""
        known = self.views.get(path)
        return known is not None and bool(known.identity)

    def is_same(self, one: Optional[str], other: Optional[str]) -> bool:
        """Whether two names mean the same image."""
        if not one or not other:
            return False
        return one == other or self.identify(one) == self.identify(other)

    def find_chain(self, path: str, image_format: str = "") -> Tuple[str, ...]:
        """Return the image and all that is below it, from the top, each by one name.

        An image that its user takes for raw has none below it, whatever a guest wrote there.
        """
        chain: List[str] = []
        seen: Set[str] = set()
        waiting = [(path, image_format)]
        while waiting:
            name, kind = waiting.pop(0)
            identity = self.identify(name)
            if identity in seen:
                continue
            seen.add(identity)
            chain.append(name)
            if kind != RAW:
                waiting.extend(self._find_below(name))
        return tuple(chain)

    def is_in_chain(self, image: str, top: str, top_format: str = "") -> bool:
        """Whether `image` is `top`, or lies somewhere below it."""
        wanted = self.identify(image)
        return any(self.identify(one) == wanted for one in self.find_chain(top, top_format))

    def is_chain_known(self, path: str, image_format: str = "") -> bool:
        """Whether everything below the image is known."""
        if image_format == RAW:
            return True
        return all(
            self._is_read(one) for one in self.find_chain(path, image_format) if is_path(one)
        )

    def find_users(self, image: str) -> Tuple[ImageUse, ...]:
        """Return the uses of the image, at the top of a chain or below."""
        return self._users.get(self.identify(image), ())

    def find_snapshot_users(self, image: str) -> Tuple[str, ...]:
        """Return the domains that have a snapshot for which the image is needed."""
        wanted = self.identify(image)
        return tuple(
            sorted(
                name
                for name, some in self.snapshots.items()
                for snapshot in some
                for one in (*snapshot.images, *snapshot.overlays.values())
                if wanted in self._chains_of(one)
            )
        )

    def find_overlays(self, image: str) -> Tuple[str, ...]:
        """Return the images that lie directly or indirectly over it, by one name each."""
        wanted = self.identify(image)
        found = {
            self.identify(name): name
            for name in sorted({*self.views, *(use.path for use in self.uses)})
            if self.identify(name) != wanted and wanted in self._chains_of(name)
        }
        return tuple(sorted(found.values()))

    def find_snapshot(self, domain: str, target: str, path: str) -> Optional[SnapshotView]:
        """Return the external snapshot that began to write the disk to that image."""
        for one in reversed(self.snapshots.get(domain, ())):
            if self.is_same(one.overlays.get(target), path):
                return one
        return None

    def _is_read(self, name: str) -> bool:
        known = self.views.get(name)
        return (known is not None and known.is_read) or name in self._listed

    def _find_below(self, name: str) -> Iterator[Tuple[str, str]]:
        known = self.views.get(name)
        if known is not None and known.backing:
            yield known.backing, known.backing_format
        if known is not None and known.data:
            yield known.data, RAW
        if name in self._listed:
            yield self._listed[name]

    @cached_property
    def _listed(self) -> Mapping[str, Tuple[str, str]]:
        """What the definitions of running guests list below each image."""
        found: Dict[str, Tuple[str, str]] = {}
        for use in self.uses:
            name = use.path
            for below in use.below:
                if below[0]:
                    found.setdefault(name, below)
                name = below[0]
        return found

    def _chains_of(self, name: str) -> FrozenSet[str]:
        known = self._chains.get(name)
        if known is None:
            kind = RAW if self.identify(name) in self._raw else ""
            known = frozenset(map(self.identify, self.find_chain(name, kind)))
            self._chains[name] = known
        return known

    @cached_property
    def _raw(self) -> FrozenSet[str]:
        """Images that a domain takes for raw, so that a guest may write any header into them."""
        return frozenset(self.identify(use.path) for use in self.uses if use.format == RAW)

    @cached_property
    def _chains(self) -> Dict[str, FrozenSet[str]]:
        return {}

    @cached_property
    def _users(self) -> Mapping[str, Tuple[ImageUse, ...]]:
        found: Dict[str, List[ImageUse]] = {}
        for use in self.uses:
            names = (*self.find_chain(use.path, use.format), *((use.mirror,) if use.mirror else ()))
            for identity in {self.identify(name) for name in names}:
                found.setdefault(identity, []).append(use)
        return {identity: tuple(uses) for identity, uses in found.items()}


def normalise(path: str) -> str:
    """Return a path without `//`, `.` and `..`; links are not followed. Other names stay."""
    if not is_path(path):
        return path
    return "/" + posixpath.normpath(path).lstrip("/")


def is_path(name: Optional[str]) -> bool:
    """Whether the name is a path of the host."""
    return (name or "").startswith("/")


def resolve_backing(name: str, overlay: str) -> str:
    """Return the absolute name of an image that is named below `overlay`.

    A relative name counts from the overlay's folder. A `json:` name is reduced to the file in it.
    """
    if name.startswith("json:"):
        name = _find_file(name[len("json:") :]) or name
    for prefix in _PREFIXES:
        if name.startswith(prefix):
            name = name[len(prefix) :]
            break
    if not name or is_path(name) or ":" in name.partition("/")[0]:
        return name
    return posixpath.join(posixpath.dirname(overlay), name)


def _find_file(text: str) -> Optional[str]:
    """Return the path in QEMU's JSON name of an image, wherever it is nested."""
    try:
        data: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    while isinstance(data, dict):
        for key in ("filename", "file.filename", "file.file.filename"):
            if isinstance(data.get(key), str):
                return str(data[key])
        data = next((data[one] for one in _NESTED if one in data), None)
        if isinstance(data, str):
            return data
    return None
