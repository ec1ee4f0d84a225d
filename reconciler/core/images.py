"""Images: which names mean the same one, what lies below it, and who uses it. Pure.

The one place that answers this. A name is a path (or `protocol:name` of an image on the network);
an image is known by its device and inode, or by the number of its block device, so that links, bind
mounts and the several names of a disk in /dev are one image. Where that cannot be seen (a remote
host), names are compared as normalised text, and `Images.can_see` says so.
"""

from __future__ import annotations

import json
import posixpath
from dataclasses import field
from functools import cached_property
from typing import (
    TYPE_CHECKING,
    Any,
    Callable,
    Dict,
    FrozenSet,
    Iterable,
    Iterator,
    List,
    Mapping,
    Optional,
    Set,
    Tuple,
)

from reconciler.core.faults import Fact, Known, Section, ask
from reconciler.core.frozen import frozen

if TYPE_CHECKING:
    from reconciler.core.xmltree import Element

RAW = "raw"
DEFAULT_POOL = "default"  # of a manifest that names none
# libvirt's pool types whose volumes are files (https://libvirt.org/storage.html).
FILE_POOLS = frozenset({"dir", "fs", "netfs"})
_PREFIXES = ("file:", "host_device:")  # QEMU's protocols of a plain path
_NESTED = ("file", "data-file")  # where a json: name keeps the file of a format or filter


@frozen
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


@frozen
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


@frozen
class SnapshotView:
    """One of a domain's snapshots. `overlays` maps disk targets to what external ones wrote to.

    `created_at` is Unix time; `images` are those that the domain had then.
    """

    name: str
    created_at: int = 0
    overlays: Mapping[str, str] = field(default_factory=dict)
    images: Tuple[str, ...] = ()


@frozen
class Images:
    """The images that a plan may concern. A method asks for what it needs and was not read.

    `views` is by name. `uses` are those of all domains; `every` are the names of all images of the
    host that are known. `snapshots` are by domain. `find_own` returns the uses of the one domain
    that is planned, where those of the others do not matter: its own XML lists what is below them.
    """

    views: Mapping[str, ImageView] = field(default_factory=dict)
    uses: Tuple[ImageUse, ...] = ()
    snapshots: Mapping[str, Tuple[SnapshotView, ...]] = field(default_factory=dict)
    every: FrozenSet[str] = frozenset()
    known: Known = None
    find_own: Optional[Callable[[], Tuple[ImageUse, ...]]] = None

    def find_view(self, path: str) -> Optional[ImageView]:
        """Return the image of that name; None for one on the network, or if nothing is known."""
        view = self.views.get(path)
        if view is None and is_path(path):
            ask(self.known, Fact(Section.IMAGE, path))
        return view

    def ask_views(self, paths: Iterable[Optional[str]]) -> None:
        """Ask for several images at once, so that a plan need not be made again for each."""
        missing = {path for path in paths if path and is_path(path) and path not in self.views}
        ask(self.known, *(Fact(Section.IMAGE, path) for path in missing))

    def find_snapshots(self, domain: str) -> Tuple[SnapshotView, ...]:
        """Return the snapshots of a domain."""
        ask(self.known, Fact(Section.SNAPSHOTS, domain))
        return self.snapshots.get(domain, ())

    def identify(self, path: str) -> str:
        """Return the image's identity; its normalised name where the host cannot tell."""
        view = self.find_view(path)
        return view.identity if view is not None and view.identity else normalise(path)

    def can_see(self, path: str) -> bool:
        """Whether the image itself could be inspected, not only its name."""
        view = self.find_view(path)
        return view is not None and bool(view.identity)

    def is_same(self, one: Optional[str], other: Optional[str]) -> bool:
        """Whether two names mean the same image."""
        if not one or not other:
            return False
        if one == other:
            return True
        self.ask_views((one, other))
        return self.identify(one) == self.identify(other)

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
        if image == top:
            return True
        self.ask_views((image, top))
        wanted = self.identify(image)
        return any(self.identify(layer) == wanted for layer in self.find_chain(top, top_format))

    def is_chain_known(self, path: str, image_format: str = "") -> bool:
        """Whether everything below the image is known."""
        if image_format == RAW:
            return True
        return all(
            self._is_read(layer) for layer in self.find_chain(path, image_format) if is_path(layer)
        )

    def find_users(self, image: str) -> Tuple[ImageUse, ...]:
        """Return the uses of the image, at the top of a chain or below."""
        self._ask_every()
        return self._users.get(self.identify(image), ())

    def find_snapshot_users(self, image: str, domains: Iterable[str]) -> Tuple[str, ...]:
        """Return which of the domains have a snapshot for which the image is needed."""
        self._ask_every()
        names = sorted(domains)
        ask(self.known, *(Fact(Section.SNAPSHOTS, name) for name in names))
        parts = {
            name: [
                path
                for snapshot in self.find_snapshots(name)
                for path in (*snapshot.images, *snapshot.overlays.values())
            ]
            for name in names
        }
        self.ask_views((image, *(path for paths in parts.values() for path in paths)))
        wanted = self.identify(image)
        return tuple(
            name
            for name, paths in parts.items()
            if any(wanted in self._chains_of(path) for path in paths)
        )

    def find_overlays(self, image: str) -> Tuple[str, ...]:
        """Return the images that lie directly or indirectly over it, by one name each."""
        self._ask_every()
        wanted = self.identify(image)
        every = self.views if self.known is None else self.every
        found = {
            self.identify(name): name
            for name in sorted({*every, *(use.path for use in self.uses)})
            if self.identify(name) != wanted and wanted in self._chains_of(name)
        }
        return tuple(sorted(found.values()))

    def find_snapshot(self, domain: str, target: str, path: str) -> Optional[SnapshotView]:
        """Return the external snapshot that began to write the disk to that image."""
        for snapshot in reversed(self.find_snapshots(domain)):
            if self.is_same(snapshot.overlays.get(target), path):
                return snapshot
        return None

    def _ask_every(self) -> None:
        ask(self.known, Fact(Section.IMAGES))

    def _is_read(self, name: str) -> bool:
        view = self.find_view(name)
        return (view is not None and view.is_read) or name in self._listed

    def _find_below(self, name: str) -> Iterator[Tuple[str, str]]:
        view = self.find_view(name)
        if view is not None and view.backing:
            yield view.backing, view.backing_format
        if view is not None and view.data:
            yield view.data, RAW
        if name in self._listed:
            yield self._listed[name]

    @cached_property
    def _listed(self) -> Mapping[str, Tuple[str, str]]:
        """What the definitions of running guests list below each image."""
        found: Dict[str, Tuple[str, str]] = {}
        if self.find_own is None:
            self._ask_every()
        for use in self.uses if self.find_own is None else self.find_own():
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
        data = next((data[name] for name in _NESTED if name in data), None)
        if isinstance(data, str):
            return data
    return None


def read_source(source: Optional[Element]) -> Optional[str]:
    """Return what a <source> names: a path, `pool/volume`, or `protocol:name` on the network."""
    if source is None:
        return None
    plain = source.get("file") or source.get("dev") or source.get("dir")
    if plain is not None:
        return str(plain)
    if source.get("volume") is not None:
        return f"{source.get('pool')}/{source.get('volume')}"
    if source.get("protocol") is not None:
        return f"{source.get('protocol')}:{source.get('name') or ''}"
    return None
