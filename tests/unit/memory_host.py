"""libvirt in memory: a host that keeps what is defined, plugged and made, as libvirt would.

Implements `ports.Host`. What is read is what a `HostSnapshot` holds; what is written changes it. A
test begins with a snapshot or with nothing, looks at `writes`, and says in `failures` what fails.
"""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    List,
    Mapping,
    MutableMapping,
    Optional,
    Sequence,
    Set,
    Tuple,
    cast,
)

from lxml import etree

from reconciler.adapters.recorded import RecordedDomains, RecordedNetworks, RecordedStorage
from reconciler.control.ports import Locks, NoLocks, NoUnits, Progress, Units
from reconciler.core.guest import AgentState, DriverProbe, GuestReport, ProgramEnd
from reconciler.core.host_snapshot import HostSnapshot
from reconciler.core.images import ImageView
from reconciler.core.imports import Importer, NoImporter
from reconciler.core.names import MARK_NAMESPACE, MARK_PREFIX
from reconciler.core.plan import CreateSeed, CreateVolume
from reconciler.core.preparation import PreparationTask, PreparationTools, Preparer
from reconciler.core.secret_refs import SealedSecret, SecretRef, SecretText, seal_secret
from reconciler.core.transfers import CopyDisks, Downloads, NoDownloads
from reconciler.core.windows_images import SEALED, WindowsImage
from reconciler.core.world import DomainView, GuestState, MachineCaps, PoolView, VolumeView
from reconciler.core.xmltree import serialise
from reconciler.errors import NotFoundError, RefusedError, TerminalError, TransientError
from tests.unit.domain.samples import PC, Q35

GIB = 2**30


def empty_host(name: str = "kvm01", uri: str = "qemu:///system") -> HostSnapshot:
    """Return a host without domains, with what a machine needs by default."""
    return HostSnapshot(
        taken_at="2027-01-15T08:00:00Z",
        version="1.0",
        host=name,
        uri=uri,
        networks={"default": True},
        pools={"default": PoolView("default", "dir", "/images", {}, available=1000 * GIB)},
        machine_types=("q35", "pc"),
        machines={"": Q35, "q35": Q35, Q35.machine: Q35, "pc": PC, PC.machine: PC},
        memory=64 * GIB,
        devices=frozenset(),
    )


class MemorySecrets:
    """Implements `ports.Secrets` with those that a test sets."""

    def __init__(self) -> None:
        self.texts: Dict[SecretRef, str] = {}
        self.key: Optional[bytes] = b"key"

    def read(self, ref: SecretRef) -> SecretText:
        """Return what the test has set."""
        if ref not in self.texts:
            raise TransientError(f"{ref}: does not exist")
        return SecretText(self.texts[ref])

    def seal(self, ref: SecretRef) -> SealedSecret:
        """Return what recognises it."""
        return seal_secret(self.read(ref), self.key)

    def find_key(self) -> Optional[bytes]:
        """Return the key that the test has set."""
        return self.key


class MemoryHost:
    """The host. `writes` are the calls that changed it, like `start web01`.

    `failures` maps a call, `create_volume` or `start web01`, to what it raises in place of its
    work; `missing` are elements of a definition, by XPath, that this libvirt does not keep. `watch` is
    told of each call before it is carried out. `seeds` are the files of each seed that was made, by
    its path; `finished_boots` are the (domain, instance-id) of which the agent says so.
    """

    def __init__(
        self,
        snapshot: Optional[HostSnapshot] = None,
        *,
        units: Units = NoUnits(),  # noqa: B008 - it holds nothing
        locks: Locks = NoLocks(),  # noqa: B008
    ) -> None:
        found = snapshot or empty_host()
        self.snapshot = replace(
            found,
            domains=dict(found.domains),
            pools=dict(found.pools),
            images=dict(found.images),
            sizes={name: dict(sizes) for name, sizes in found.sizes.items()},
        )
        self.writes: List[str] = []
        self.failures: Dict[str, BaseException] = {}
        self.missing: List[str] = []
        self.seeds: Dict[str, Dict[str, str]] = {}
        self.finished_boots: Set[Tuple[str, str]] = set()
        self.watch: Callable[[str], None] = lambda _call: None
        self.units = units
        self.locks = locks
        self.secrets = MemorySecrets()
        self.downloads: Downloads = NoDownloads()
        self.preparer: Preparer = MemoryPreparer(self)
        self.importer: Importer = NoImporter("nothing is imported in memory")
        self.domains = MemoryDomains(self)
        self.storage = MemoryStorage(self)
        self.networks = RecordedNetworks(self.snapshot)
        self.guests = MemoryGuests(self)

    @property
    def views(self) -> MutableMapping[str, DomainView]:
        """The domains, to be changed."""
        return cast("MutableMapping[str, DomainView]", self.snapshot.domains)

    @property
    def images(self) -> MutableMapping[str, ImageView]:
        """The images, to be changed."""
        return cast("MutableMapping[str, ImageView]", self.snapshot.images)

    @property
    def pools(self) -> MutableMapping[str, PoolView]:
        """The pools, to be changed."""
        return cast("MutableMapping[str, PoolView]", self.snapshot.pools)

    def change(self, name: str, **fields: Any) -> None:
        """Change what is seen of a domain, as another program would."""
        self.views[name] = replace(self.views[name], **fields)

    def find_volume(self, path: str) -> Optional[VolumeView]:
        """Return the volume at a path."""
        return next((one for one in self._volumes() if one.path == path), None)

    def _volumes(self) -> Iterator[VolumeView]:
        for pool in self.pools.values():
            yield from pool.volumes.values()

    def write(self, call: str, name: str) -> None:
        """Note a call, or fail as the test says."""
        failure = self.failures.get(f"{call} {name}") or self.failures.get(call)
        if failure is not None:
            raise failure
        self.watch(f"{call} {name}")  # it may raise, too
        self.writes.append(f"{call} {name}")


class MemoryGuests:
    """Implements `Guests` with the reports that a test sets, by domain."""

    def __init__(self, host: MemoryHost) -> None:
        self._memory = host
        self.reports: Dict[str, GuestReport] = {}
        self.ends: Dict[str, ProgramEnd] = {}
        self.programs: List[Tuple[str, ...]] = []
        self.asked: List[str] = []

    def read(
        self, name: str, instance: str = "", probe: Optional[DriverProbe] = None
    ) -> GuestReport:
        """Return what the test has set; a guest of which it says nothing has no agent."""
        del probe
        self.asked.append(name)
        if not self._memory.domains.read_domain(name).is_active:
            return GuestReport(AgentState.OFF)
        found = self.reports.get(name, GuestReport(AgentState.DISCONNECTED))
        finished = instance if self.is_boot_finished(name, instance) else ""
        return replace(found, cloud_init=replace(found.cloud_init, finished=finished))

    def find_driver(self, name: str, probe: DriverProbe) -> GuestReport:
        """Return what the test has set."""
        return self.read(name, "", probe)

    def run(
        self,
        name: str,
        path: str,
        arguments: Sequence[str],
        limit: float,
        sleep: Callable[[float], None],
    ) -> ProgramEnd:
        """Note it, and return what the test has set."""
        del limit
        sleep(0)  # the daemon's end may come here
        self._memory.watch(f"run {name}")
        self.programs.append((path, *arguments))
        return self.ends.get(name, ProgramEnd(0))

    def is_boot_finished(self, name: str, instance: str) -> bool:
        """Whether the test says so."""
        return (name, instance) in self._memory.finished_boots


class MemoryPreparer:
    """Implements `Preparer`: knows every operation, and notes what it prepares.

    `windows` maps the path of an image to what is read in it.
    """

    def __init__(self, host: MemoryHost) -> None:
        self._memory = host
        self.windows: Dict[str, WindowsImage] = {}

    def find_tools(self, folder: str) -> PreparationTools:
        """Know everything, everywhere."""
        del folder
        return PreparationTools()

    def prepare(self, task: PreparationTask, tell: Callable[[str], None]) -> None:
        """Note it."""
        tell("Examining the guest")
        self._memory.write("prepare", task.path)

    def read_windows(self, path: str, image_format: str) -> WindowsImage:
        """Return what the test has set; of others it is known that they are generalized."""
        del image_format
        return self.windows.get(path, WindowsImage(SEALED))


class MemoryDomains(RecordedDomains):
    """Implements `ports.Domains`."""

    def __init__(self, host: MemoryHost) -> None:
        super().__init__(host.snapshot)
        self._memory = host

    def read_disk_sizes(
        self, disks: Mapping[str, Tuple[str, ...]]
    ) -> Mapping[str, Mapping[str, int]]:
        """Return the sizes of volumes, and those that the snapshot has."""
        return {name: dict(self._sizes(name, keys)) for name, keys in disks.items()}

    def _sizes(self, name: str, keys: Tuple[str, ...]) -> Iterator[Tuple[str, int]]:
        for key in keys:
            volume = self._memory.find_volume(key)
            known = self._memory.snapshot.sizes.get(name, {}).get(key)
            if volume is not None:
                yield key, volume.capacity
            elif known is not None:
                yield key, known

    def define(self, xml: str, *, validate: bool = True) -> None:
        del validate
        root = _parse(xml)
        name = str(root.findtext("name"))
        self._memory.write("define", name)
        for path in self._memory.missing:
            for element in root.xpath(path):
                element.getparent().remove(element)
        self._pin_machine(root)
        former = self._memory.views.get(name)
        if root.find("uuid") is None:
            identity = etree.Element("uuid")
            identity.text = former.uuid if former else str(uuid.uuid5(uuid.NAMESPACE_DNS, name))
            root.insert(1, identity)
        view = former or DomainView(name, root.findtext("uuid"), GuestState.OFF, "")
        if view.uuid != root.findtext("uuid"):
            raise TerminalError(f"domain {name} is already defined with uuid {view.uuid}")
        self._memory.views[name] = replace(view, persistent_xml=_text(root), persistent=True)

    def _pin_machine(self, root: Any) -> None:
        """Put the version in place of a machine type's alias, as libvirt does."""
        for kind in root.findall("os/type"):
            caps = self._memory.snapshot.machines.get(kind.get("machine", ""))
            if isinstance(caps, MachineCaps):
                kind.set("machine", caps.machine)

    def undefine_new(self, name: str) -> None:
        self.undefine(name)

    def undefine(self, name: str) -> None:
        if self.read_domain(name).is_active:
            raise RefusedError(f"domain {name}: it is running")
        self._memory.write("undefine", name)
        del self._memory.views[name]

    def attach(self, name: str, xml: str) -> None:
        def plug(root: Any) -> None:
            device = _parse(xml)
            if _find_devices(root, device):
                raise TerminalError(f"device is plugged in already: {device.tag}")
            root.find("devices").append(device)

        self._change_live("attach", name, plug)

    def update(self, name: str, xml: str) -> None:
        def exchange(root: Any) -> None:
            device = _parse(xml)
            former = _find_device(root, device)
            root.find("devices").replace(former, device)

        self._change_live("update", name, exchange)

    def detach(self, name: str, xml: str) -> None:
        def unplug(root: Any) -> None:
            root.find("devices").remove(_find_device(root, _parse(xml)))

        self._change_live("detach", name, unplug)

    def copy_disks(self, step: CopyDisks, progress: Progress) -> None:
        """Note which disks are copied, and whether the guest is frozen."""
        del progress
        names = ",".join(f"{disk.target}>{disk.path}" for disk in step.disks)
        how = " frozen" if step.is_frozen else ""
        self._memory.write("copy_disks", f"{step.machine} {names}{how}")

    def set_vcpus(self, name: str, count: int) -> None:
        self._change_live(
            "set_vcpus", name, lambda root: root.find("vcpu").set("current", f"{count}")
        )

    def set_memory(self, name: str, kib: int) -> None:
        def set_balloon(root: Any) -> None:
            balloon = root.find("currentMemory")
            if balloon is None:
                balloon = etree.SubElement(root, "currentMemory")
            balloon.text, _ = f"{kib}", balloon.set("unit", "KiB")

        self._change_live("set_memory", name, set_balloon)

    def set_autostart(self, name: str, enabled: bool) -> None:
        self._memory.write("set_autostart", name)
        self._memory.change(name, autostart=enabled)

    def set_metadata(self, name: str, xml: str, live: bool) -> None:
        self._memory.write("set_metadata", name)
        view = self.read_domain(name)
        fields = {"persistent_xml": _mark(view.persistent_xml, xml)}
        if live and view.live_xml is not None:
            fields["live_xml"] = _mark(view.live_xml, xml)
        self._memory.change(name, **fields)

    def resize_block(self, name: str, target: str, capacity: int) -> None:
        self._memory.write("resize_block", name)
        root = _parse(self.read_domain(name).live_xml)
        [source] = root.xpath(f"devices/disk[target/@dev='{target}']/source")
        self._memory.storage.grow(self._find_path(source), capacity)

    def _find_path(self, source: Any) -> str:
        if source.get("file"):
            return str(source.get("file"))
        return self._memory.pools[source.get("pool")].volumes[source.get("volume")].path

    def start(self, name: str) -> None:
        view = self.read_domain(name)
        if view.is_active:
            raise TransientError(f"domain {name} is already running")
        self._memory.write("start", name)
        live = (view.saved and view.saved_xml) or view.persistent_xml
        live = live.replace("<domain ", "<domain id='1' ", 1)
        self._memory.change(
            name, state=GuestState.RUNNING, live_xml=live, saved=False, saved_xml=None
        )

    def resume(self, name: str) -> None:
        self._memory.write("resume", name)
        self._memory.change(name, state=GuestState.RUNNING, state_reason="")

    def wake(self, name: str) -> None:
        self._memory.write("wake", name)
        self._memory.change(name, state=GuestState.RUNNING, state_reason="")

    def shut_down(self, name: str) -> None:
        self._stop("shut_down", name)

    def power_off(self, name: str) -> None:
        self._stop("power_off", name)

    def _stop(self, call: str, name: str) -> None:
        view = self.read_domain(name)
        self._memory.write(call, name)
        self._memory.change(name, state=GuestState.OFF, live_xml=None, state_reason="")
        if not view.persistent:
            del self._memory.views[name]

    def _change_live(self, call: str, name: str, edit: Any) -> None:
        self._memory.write(call, name)
        live = self.read_domain(name).live_xml
        if live is None:
            raise TransientError(f"domain {name} is not running")
        root = _parse(live)
        edit(root)
        self._memory.change(name, live_xml=_text(root))


class MemoryStorage(RecordedStorage):
    """Implements `ports.Storage`."""

    def __init__(self, host: MemoryHost) -> None:
        super().__init__(host.snapshot)
        self._memory = host

    def create_volume(self, step: CreateVolume, progress: Progress) -> VolumeView:
        self._memory.write("create_volume", f"{step.pool}/{step.name}")
        pool = self._memory.pools[step.pool]
        if step.name in pool.volumes:
            raise RefusedError(f"volume {step.pool}/{step.name} is there already")
        origin = self._memory.find_volume(step.origin or "")
        size = step.capacity or (origin.capacity if origin else 0)
        backing = step.origin if step.clone == "linked" else None
        path = f"{pool.path}/{step.name}"
        volume = VolumeView(step.pool, step.name, path, step.format, size, backing)
        for done in range(0, 101, 5) if step.clone == "full" else ():
            progress(step.name, done * size // 100, size)
        self._set(pool, {**pool.volumes, step.name: volume})
        below = step.origin_format or "" if backing else ""
        self._memory.images[path] = ImageView(path, f"new:{path}", step.format, backing, below)
        return volume

    def create_seed(self, step: CreateSeed) -> None:
        self._memory.write("create_seed", f"{step.pool}/{step.name}")
        pool = self._memory.pools[step.pool]
        if step.name in pool.volumes:
            raise RefusedError(f"volume {step.pool}/{step.name} is there already")
        self._memory.seeds[step.path] = dict(step.files)
        volume = VolumeView(step.pool, step.name, step.path, "raw", 73728)
        self._set(pool, {**pool.volumes, step.name: volume})

    def resize_volume(self, path: str, capacity: int) -> None:
        self._memory.write("resize_volume", path)
        self.grow(path, capacity)

    def grow(self, path: str, capacity: int) -> None:
        """Set the size of the volume at a path."""
        volume = self._memory.find_volume(path)
        if volume is None:
            raise NotFoundError(f"no volume {path}")
        pool = self._memory.pools[volume.pool]
        self._set(pool, {**pool.volumes, volume.name: replace(volume, capacity=capacity)})

    def rename(self, volume: VolumeView, name: str) -> None:
        """Call a volume something else."""
        pool = self._memory.pools[volume.pool]
        others = {key: one for key, one in pool.volumes.items() if key != volume.name}
        renamed = replace(volume, name=name, path=f"{pool.path}/{name}")
        self._set(pool, {**others, name: renamed})

    def delete_partial(self, pool: str, name: str) -> None:
        self._delete("delete_partial", pool, name)

    def delete_volume(self, pool: str, name: str, path: str) -> None:
        found = self._memory.pools[pool].volumes.get(name)
        if found is not None and found.path != path:
            raise RefusedError(f"volume {pool}/{name} is at {found.path}")
        self._delete("delete_volume", pool, name)

    def _delete(self, call: str, pool: str, name: str) -> None:
        self._memory.write(call, f"{pool}/{name}")
        found = self._memory.pools[pool]
        self._set(found, {key: volume for key, volume in found.volumes.items() if key != name})

    def _set(self, pool: PoolView, volumes: Mapping[str, VolumeView]) -> None:
        self._memory.pools[pool.name] = replace(pool, volumes=volumes)


def _find_device(root: Any, device: Any) -> Any:
    """Return the device of a domain that has the same target or address."""
    found = _find_devices(root, device)
    if not found:
        raise TerminalError(f"device not found: {device.tag}")
    return found[0]


def _find_devices(root: Any, device: Any) -> List[Any]:
    keys = ("mac/@address", "target/@dev", "self::graphics/@type")
    key = next((key for key in keys if device.xpath(key)), "@none")
    there = root.find("devices").iterchildren(device.tag)
    return [one for one in there if one.xpath(key) and one.xpath(key) == device.xpath(key)]


def _mark(xml: str, mark: str) -> str:
    """Return a definition with our mark as libvirt keeps it: in a namespace, under its prefix."""
    root = _parse(xml)
    metadata = root.find("metadata")
    if metadata is None:
        metadata = etree.SubElement(root, "metadata")
    for former in metadata.findall(f"{{{MARK_NAMESPACE}}}*"):
        metadata.remove(former)
    element = _parse(mark)
    named = etree.SubElement(
        metadata,
        f"{{{MARK_NAMESPACE}}}{element.tag}",
        dict(element.attrib),
        nsmap={MARK_PREFIX: MARK_NAMESPACE},
    )
    for child in element.iterdescendants():
        etree.SubElement(
            named, f"{{{MARK_NAMESPACE}}}{child.tag}", dict(child.attrib)
        ).text = child.text
    return _text(root)


def _parse(xml: Optional[str]) -> Any:
    return etree.fromstring(xml or "")


def _text(root: Any) -> str:
    """Write as libvirt writes: in its quotes."""
    return serialise(root)
