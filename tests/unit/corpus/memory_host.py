"""A recorded host that can be changed: it implements the ports. No test is here.

It does to its values what libvirt does to domains and volumes, and knows nothing of plans.
Every method that changes something may fail, once, as a test says: `fail_at` counts the changes.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Callable, Dict, List, Mapping, Optional, Sequence, Tuple, Union

from reconciler.adapters.recorded import (
    RecordedDomains,
    RecordedNetworks,
    RecordedStorage,
    RecordedUnits,
)
from reconciler.control.ports import NoLocks, NoSecrets, Progress
from reconciler.core.host_snapshot import HostSnapshot
from reconciler.core.images import ImageView, SnapshotView
from reconciler.core.names import MARK_NAMESPACE, MARK_PREFIX
from reconciler.core.plan import CreateVolume
from reconciler.core.world import (
    DomainView,
    FileView,
    GuestState,
    MachineCaps,
    PoolView,
    Unknown,
    VolumeView,
)
from reconciler.core.xmltree import Element, make, make_namespaced, make_text, parse, serialise
from reconciler.errors import NotFoundError, RefusedError, TerminalError, TransientError

REFUSAL = "it was refused"
SAME = uuid.UUID("00000000-0000-0000-0000-000000000000")


class Changes:
    """Counts what is changed, and refuses one change."""

    def __init__(self) -> None:
        """Refuse none."""
        self.made: List[str] = []
        self.fail_at: Optional[int] = None
        self.for_ever = False

    def count(self, what: str) -> None:
        """Take note of a change that is about to be made.

        Raises TerminalError if it is the one, or comes after it and refusals last `for_ever`.
        """
        number = len(self.made)
        self.made.append(what)
        is_later = self.for_ever and self.fail_at is not None and number > self.fail_at
        if number == self.fail_at or is_later:
            raise TerminalError(REFUSAL)


class MemoryStorage:
    """Implements `ports.Storage`."""

    def __init__(self, snapshot: HostSnapshot, changes: Changes) -> None:
        """Begin with what was recorded."""
        self._snapshot = snapshot
        self._changes = changes
        self.pools: Dict[str, Union[PoolView, Unknown]] = dict(snapshot.pools)
        self.images: Dict[str, ImageView] = dict(snapshot.images)
        self.sizes: Dict[str, int] = {
            path: size for sizes in snapshot.sizes.values() for path, size in sizes.items()
        }
        self.sizes.update((volume.path, volume.capacity) for volume in self._volumes())

    def _volumes(self) -> List[VolumeView]:
        there = [pool for pool in self.pools.values() if isinstance(pool, PoolView)]
        return [volume for pool in there for volume in pool.volumes.values()]

    def list_pools(self) -> Tuple[str, ...]:
        return tuple(self.pools)

    def list_inactive_pools(self) -> Tuple[str, ...]:
        return self._snapshot.inactive_pools

    def read_pool(self, name: str) -> PoolView:
        pool = self.pools[name]
        if isinstance(pool, Unknown):
            raise TerminalError(pool.reason)
        return pool

    def read_free(self, path: str) -> Optional[int]:
        return None

    def read_images(self, images: Mapping[str, str]) -> Mapping[str, ImageView]:
        return {path: self.images[path] for path in images if path in self.images} or self.images

    def read_files(self, paths: Sequence[str]) -> Mapping[str, FileView]:
        return RecordedStorage(self._snapshot).read_files(paths)

    def can_reflink(self, pool: PoolView, image: str) -> bool:
        return (pool.name, image) in self._snapshot.shared

    def create_volume(self, step: CreateVolume, progress: Progress) -> VolumeView:
        self._changes.count(f"create volume {step.name}")
        pool = self.read_pool(step.pool)
        if step.name in pool.volumes:
            raise RefusedError(f"volume {step.pool}/{step.name} exists")
        path = f"{pool.path}/{step.name}"
        backing = step.origin if step.clone == "linked" else None
        capacity = max(step.capacity or 0, self.sizes.get(step.origin or "", 0))
        volume = VolumeView(step.pool, step.name, path, step.format, capacity, backing)
        self._store(pool, volume)
        self.images[path] = ImageView(
            path, f"new:{path}", step.format, backing, (backing and step.origin_format) or ""
        )
        return volume

    def _store(self, pool: PoolView, volume: VolumeView) -> None:
        volumes = {**pool.volumes, volume.name: volume}
        self.pools[pool.name] = replace(pool, volumes=volumes)
        self.sizes[volume.path] = volume.capacity

    def resize_volume(self, path: str, capacity: int) -> None:
        self._changes.count(f"resize volume {path}")
        self.resize(path, capacity)

    def resize(self, path: str, capacity: int) -> None:
        """Let an image be of that size."""
        self.sizes[path] = capacity
        for volume in self._volumes():
            if volume.path == path:
                self._store(self.read_pool(volume.pool), replace(volume, capacity=capacity))

    def delete_partial(self, pool: str, name: str) -> None:
        self._changes.count(f"delete partial {name}")
        self._forget(pool, name)

    def delete_volume(self, pool: str, name: str, path: str) -> None:
        self._changes.count(f"delete volume {name}")
        found = self.read_pool(pool).volumes.get(name)
        if found is not None and found.path != path:
            raise RefusedError(f"volume {pool}/{name} lies at {found.path}")
        self._forget(pool, name)

    def _forget(self, name: str, volume: str) -> None:
        pool = self.read_pool(name)
        volumes = {key: value for key, value in pool.volumes.items() if key != volume}
        self.pools[name] = replace(pool, volumes=volumes)


class MemoryDomains:
    """Implements `ports.Domains`."""

    def __init__(self, snapshot: HostSnapshot, storage: MemoryStorage, changes: Changes) -> None:
        """Begin with what was recorded."""
        self._snapshot = snapshot
        self._recorded = RecordedDomains(snapshot)
        self._storage = storage
        self._changes = changes
        self.views: Dict[str, Union[DomainView, Unknown]] = dict(snapshot.domains)
        self.uri = snapshot.uri
        self.host = snapshot.host

    def list_domains(self) -> Mapping[str, Union[DomainView, Unknown]]:
        return dict(self.views)

    def read_domain(self, name: str) -> DomainView:
        view = self.views.get(name)
        if view is None:
            raise NotFoundError(f"domain {name}: there is none")
        if isinstance(view, Unknown):
            raise TransientError(view.reason)
        return view

    def read_disk_sizes(
        self, disks: Mapping[str, Tuple[str, ...]]
    ) -> Mapping[str, Mapping[str, int]]:
        sizes = self._storage.sizes
        return {
            name: {key: sizes[key] for key in keys if key in sizes} for name, keys in disks.items()
        }

    def find_job(self, name: str) -> str:
        return self.read_domain(name).job

    def read_off_reason(self, name: str) -> str:
        return self._recorded.read_off_reason(name)

    def list_machines(self) -> Tuple[str, ...]:
        return self._recorded.list_machines()

    def read_memory(self) -> Optional[int]:
        return self._recorded.read_memory()

    def read_caps(self, machine: str) -> MachineCaps:
        return self._recorded.read_caps(machine)

    def list_snapshots(self, name: str) -> Tuple[str, ...]:
        return self._recorded.list_snapshots(name)

    def read_snapshots(self, name: str) -> Tuple[SnapshotView, ...]:
        return self._recorded.read_snapshots(name)

    def define(self, xml: str) -> None:
        self._changes.count("define")
        root = parse(xml)
        name = root.findtext("name") or ""
        known = self.views.get(name)
        if root.find("uuid") is None:
            root.insert(1, make_text("uuid", uuid.uuid5(SAME, name)))
        self._resolve_machine(root)
        text = serialise(root)
        if isinstance(known, DomainView):
            self.views[name] = replace(known, persistent_xml=text, persistent=True)
        else:
            own = root.findtext("uuid") or ""
            self.views[name] = DomainView(name, own, GuestState.OFF, text)

    def _resolve_machine(self, root: Element) -> None:
        """Pin an alias like q35 to its version, as libvirt does."""
        for kind in root.findall("os/type"):
            caps = self._snapshot.machines.get(kind.get("machine", ""))
            if isinstance(caps, MachineCaps):
                kind.set("machine", caps.machine)

    def undefine_new(self, name: str) -> None:
        self._changes.count("undefine new")
        self._undefine(name)

    def undefine(self, name: str) -> None:
        self._changes.count("undefine")
        if self.read_domain(name).is_active:
            raise RefusedError(f"domain {name}: it runs")
        self._undefine(name)

    def _undefine(self, name: str) -> None:
        view = self.read_domain(name)
        if view.is_active:
            self.views[name] = replace(view, persistent=False)
        else:
            del self.views[name]

    def attach(self, name: str, xml: str) -> None:
        self._changes.count("attach")
        device = parse(xml)

        def add(root: Element) -> None:
            if _find_device(root, device) is not None:
                raise TerminalError("there is such a device already")
            _devices(root).append(device)

        self._edit_live(name, add)

    def update(self, name: str, xml: str) -> None:
        self._changes.count("update")
        device = parse(xml)

        def put(root: Element) -> None:
            _devices(root).replace(_need_device(root, device), device)

        self._edit_live(name, put)

    def detach(self, name: str, xml: str) -> None:
        self._changes.count("detach")
        device = parse(xml)
        self._edit_live(name, lambda root: _devices(root).remove(_need_device(root, device)))

    def set_vcpus(self, name: str, count: int) -> None:
        self._changes.count("set vcpus")
        self._edit_live(name, lambda root: _child(root, "vcpu").set("current", str(count)))

    def set_memory(self, name: str, kib: int) -> None:
        self._changes.count("set memory")

        def set_balloon(root: Element) -> None:
            for found in root.findall("currentMemory"):
                root.remove(found)
            root.insert(1, make_text("currentMemory", kib, {"unit": "KiB"}))

        self._edit_live(name, set_balloon)

    def set_autostart(self, name: str, enabled: bool) -> None:
        self._changes.count("set autostart")
        self.views[name] = replace(self.read_domain(name), autostart=enabled)

    def set_metadata(self, name: str, xml: str, live: bool) -> None:
        self._changes.count("set metadata")
        view = self.read_domain(name)
        self.views[name] = replace(view, persistent_xml=_mark(view.persistent_xml, xml))
        if live:
            self._edit_live(name, lambda root: _put_mark(root, xml))

    def resize_block(self, name: str, target: str, capacity: int) -> None:
        self._changes.count("resize block")
        root = parse(self._live(name))
        wanted = make("disk", {}, make("target", {"dev": target}))
        source = _child(_need_device(root, wanted), "source")
        self._storage.resize(self._find_path(source), capacity)

    def _find_path(self, source: Element) -> str:
        if source.get("file") or source.get("dev"):
            return str(source.get("file") or source.get("dev"))
        pool = self._storage.read_pool(source.get("pool", ""))
        return pool.volumes[source.get("volume", "")].path

    def start(self, name: str) -> None:
        self._changes.count("start")
        view = self.read_domain(name)
        if view.is_active:
            raise TransientError(f"domain {name}: it runs already")
        live = view.saved_xml if view.saved and view.saved_xml else view.persistent_xml
        self.views[name] = replace(
            view,
            state=GuestState.RUNNING,
            live_xml=live,
            saved=False,
            saved_xml=None,
            state_reason="",
        )

    def resume(self, name: str) -> None:
        self._changes.count("resume")
        self._run(name)

    def wake(self, name: str) -> None:
        self._changes.count("wake")
        self._run(name)

    def _run(self, name: str) -> None:
        view = self.read_domain(name)
        self.views[name] = replace(view, state=GuestState.RUNNING, state_reason="")

    def shut_down(self, name: str) -> None:
        self._changes.count("shut down")
        self._stop(name)

    def power_off(self, name: str) -> None:
        self._changes.count("power off")
        self._stop(name)

    def _stop(self, name: str) -> None:
        view = self.read_domain(name)
        if view.persistent:
            self.views[name] = replace(view, state=GuestState.OFF, live_xml=None, state_reason="")
        else:
            del self.views[name]

    def _live(self, name: str) -> str:
        live = self.read_domain(name).live_xml
        if live is None:
            raise TransientError(f"domain {name}: it is not running")
        return live

    def _edit_live(self, name: str, edit: Callable[[Element], object]) -> None:
        root = parse(self._live(name))
        edit(root)
        self.views[name] = replace(self.read_domain(name), live_xml=serialise(root))


class MemoryHost:
    """Implements `ports.Host`."""

    def __init__(self, snapshot: HostSnapshot, fail_at: Optional[int] = None) -> None:
        """Be as the host was then; refuse the change of that number."""
        self.changes = Changes()
        self.changes.fail_at = fail_at
        self.storage = MemoryStorage(snapshot, self.changes)
        self.domains = MemoryDomains(snapshot, self.storage, self.changes)
        self.networks = RecordedNetworks(snapshot)
        self.units = RecordedUnits(snapshot)
        self.locks = NoLocks()
        self.secrets = NoSecrets("there are none")

    def repair(self) -> None:
        """Refuse nothing from now on."""
        self.changes.fail_at = None


def _devices(root: Element) -> Element:
    return _child(root, "devices")


def _child(element: Element, tag: str) -> Element:
    found = element.find(tag)
    assert found is not None, tag
    return found


def _identify(device: Element) -> Tuple[str, Optional[str]]:
    """Return by what a device is known: its target, or its MAC."""
    for place, attribute in (("mac", "address"), ("target", "dev")):
        found = device.find(place)
        if found is not None and found.get(attribute):
            return device.tag, found.get(attribute)
    return device.tag, None


def _find_device(root: Element, device: Element) -> Optional[Element]:
    known = _identify(device)
    return next((found for found in _devices(root) if _identify(found) == known), None)


def _need_device(root: Element, device: Element) -> Element:
    found = _find_device(root, device)
    if found is None:
        raise TerminalError("there is no such device")
    return found


def _mark(xml: str, mark: str) -> str:
    root = parse(xml)
    _put_mark(root, mark)
    return serialise(root)


def _put_mark(root: Element, mark: str) -> None:
    """Write the mark as libvirt does: all of it in the namespace that it was given with."""
    element = _qualify(parse(mark))
    metadata = root.find("metadata")
    if metadata is None:
        metadata = make("metadata")
        root.insert(2, metadata)
    for found in metadata.findall(element.tag):
        metadata.remove(found)
    metadata.append(element)


def _qualify(element: Element) -> Element:
    twin = make_namespaced(f"{{{MARK_NAMESPACE}}}{element.tag}", {MARK_PREFIX: MARK_NAMESPACE})
    twin.text = element.text
    twin.attrib.update(element.attrib)
    twin.extend(_qualify(child) for child in element)
    return twin
