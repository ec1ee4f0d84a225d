"""Read domains as values, many at a time: definition, state, the job under way."""

from __future__ import annotations

from contextlib import suppress
from typing import (
    TYPE_CHECKING,
    Callable,
    Collection,
    Dict,
    FrozenSet,
    Iterator,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    TypeVar,
    Union,
)

from reconciler.adapters.libvirt import binding
from reconciler.core.faults import isolate
from reconciler.core.frozen import frozen, regex
from reconciler.core.images import SnapshotView, read_source
from reconciler.core.world import DomainView, GuestState, Unknown
from reconciler.core.xmltree import MOST_DIGITS, parse
from reconciler.errors import NotFoundError, ReconcilerError

if TYPE_CHECKING:
    from reconciler.adapters.libvirt.objects import Connection, Domain

T = TypeVar("T")
R = TypeVar("R")

THREADS = 8
# Below this many, starting threads costs more than it saves.
FEW = 8


def map_in_threads(function: Callable[[T], R], items: Sequence[T]) -> List[R]:
    """Return the function's results in the order of the items; the first error is raised."""
    if len(items) < FEW:
        return [function(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - start-up time

    # One task per thread and not per item: a future per item costs as much as the call itself.
    parts = [items[start::THREADS] for start in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        done = list(pool.map(lambda part: [function(item) for item in part], parts))
    return [done[index % THREADS][index // THREADS] for index in range(len(items))]


# virDomainState; libvirt's "no state" and "blocked" are guests that run.
_STATES: Mapping[int, GuestState] = {
    3: GuestState.PAUSED,
    4: GuestState.SHUTTING_DOWN,
    5: GuestState.OFF,
    6: GuestState.CRASHED,
    7: GuestState.PMSUSPENDED,
}
# The words of `virsh domstate --reason` (tools/virsh-domain-monitor.c), by virDomainPausedReason
# and virDomainCrashedReason.
_REASONS: Mapping[Tuple[GuestState, int], str] = {
    (GuestState.PAUSED, 1): "user",
    (GuestState.PAUSED, 2): "migrating",
    (GuestState.PAUSED, 3): "saving",
    (GuestState.PAUSED, 4): "dumping",
    (GuestState.PAUSED, 5): "I/O error",
    (GuestState.PAUSED, 6): "watchdog",
    (GuestState.PAUSED, 7): "from snapshot",
    (GuestState.PAUSED, 8): "shutting down",
    (GuestState.PAUSED, 9): "creating snapshot",
    (GuestState.PAUSED, 10): "crashed",
    (GuestState.PAUSED, 11): "starting up",
    (GuestState.PAUSED, 12): "post-copy",
    (GuestState.PAUSED, 13): "post-copy failed",
    (GuestState.PAUSED, 14): "api error",
    (GuestState.CRASHED, 1): "panicked",
}
# virDomainShutoffReason, likewise.
_OFF_REASONS = (
    *("unknown", "shutdown", "destroyed", "crashed", "migrated", "saved", "failed"),
    *("from snapshot", "daemon"),
)
# virDomainJobOperation, and virDomainBlockJobType.
_JOBS: Mapping[int, str] = {
    1: "start",
    2: "save",
    3: "restore",
    4: "incoming migration",
    5: "migration",
    6: "snapshot",
    7: "revert to a snapshot",
    8: "memory dump",
    9: "backup",
    10: "deletion of a snapshot",
}
_BLOCK_JOBS: Mapping[int, str] = {
    1: "block pull",
    2: "block copy",
    3: "block commit",
    4: "block commit",
    5: "backup",
}
_DISK_ERRORS: Mapping[int, str] = {1: "unspecified", 2: "no space"}
_RUNNING_JOBS = frozenset({1, 2})  # virDomainJobType: bounded, unbounded
_TARGETS = regex(r"<target dev=(['\"])([^'\"]+)\1 bus=")


def read_state(domain: Domain) -> Tuple[GuestState, str]:
    """Return the state of an active domain and its reason; empty for a guest that runs or is off.

    libvirt's errors are raised as they are.
    """
    number, reason = domain.state()[:2]
    state = _STATES.get(number, GuestState.RUNNING)
    if state in (GuestState.RUNNING, GuestState.OFF):
        return state, ""
    return state, _REASONS.get((state, reason), "unknown" if state is GuestState.PAUSED else "")


def read_off_reason(domain: Domain) -> str:
    """Return why a domain is off; empty if it is not."""
    number, reason = domain.state()[:2]
    if _STATES.get(number) is not GuestState.OFF:
        return ""
    return _OFF_REASONS[reason] if 0 <= reason < len(_OFF_REASONS) else "unknown"


def read_disk_errors(domain: Domain) -> Mapping[str, str]:
    """Return target → error of the disks whose errors paused the guest, as far as libvirt tells."""
    try:
        found = domain.diskErrors()
    except binding.Error:
        return {}
    return {target: _DISK_ERRORS.get(code, "unspecified") for target, code in found.items()}


def read_job(domain: Domain) -> str:
    """Return the job of an active domain as a whole (migration, dump, save, backup); else empty."""
    try:
        found = domain.jobStats()
    except binding.Error as error:
        # Another call has held the domain for 30 s, which is a job too.
        return "long operation" if binding.code_of(error) == binding.OPERATION_TIMEOUT else ""
    if found.get("type") not in _RUNNING_JOBS:
        return ""
    return _JOBS.get(found.get("operation", 0), "job of libvirt")


def find_job(domain: Domain) -> str:
    """Return the job under way on an active domain or one of its disks; empty if there is none."""
    return read_job(domain) or next(_find_block_jobs(domain), "")


def _find_block_jobs(domain: Domain) -> Iterator[str]:
    """Yield each disk's job; a disk that cannot be asked (a drive without a medium) has none."""
    for _, target in _TARGETS.findall(domain.XMLDesc()):
        try:
            found = domain.blockJobInfo(target)
        except binding.Error:
            continue
        if found:
            job = _BLOCK_JOBS.get(found.get("type", 0), "block job")
            yield f"{job} of disk {target}"


# libvirt's id of a domain that is not running; known from the list, without a call.
NOT_RUNNING = -1


@frozen
class Marks:
    """UUIDs of the domains of which something outside the XML is true."""

    autostart: FrozenSet[str]
    transient: FrozenSet[str]
    saved: FrozenSet[str]
    between: FrozenSet[str]


def list_views(connection: Connection) -> Mapping[str, Union[DomainView, Unknown]]:
    """Read every domain. One that goes meanwhile is not there; an unreadable one is Unknown."""
    with binding.calling("listing the domains"):
        domains = connection.listAllDomains()
        marks = Marks(
            _uuids(connection, binding.LIST_AUTOSTART),
            _uuids(connection, binding.LIST_TRANSIENT),
            _uuids(connection, binding.LIST_SAVED),
            _uuids(connection, binding.LIST_BETWEEN),
        )
    views = map_in_threads(lambda domain: _try_read(domain, marks), domains)
    return {domain.name(): view for domain, view in zip(domains, views) if view is not None}


def read_view(connection: Connection, name: str) -> DomainView:
    """Read one domain anew. Raises NotFoundError only when libvirt says that there is none."""
    with binding.calling(f"domain {name}: reading it", binding.NO_DOMAIN):
        domain = connection.lookupByName(name)
        uuid = frozenset({domain.UUIDString()})
        marks = Marks(
            uuid if domain.autostart() else frozenset(),
            frozenset() if domain.isPersistent() else uuid,
            uuid if domain.hasManagedSaveImage() else frozenset(),
            uuid,
        )
    return _read(domain, marks)


def read_sizes(
    connection: Connection,
    storage: Callable[[], Connection],
    targets: Mapping[str, Tuple[str, ...]],
) -> Mapping[str, Mapping[str, int]]:
    """Return domain → target → virtual size in bytes; what cannot be read is left out.

    A disk that a running guest has not got yet is unknown to its domain, not to its storage pool.
    """
    wanted = [(name, target) for name, some in targets.items() for target in some]
    domains = _find(connection, targets)
    sizes: Dict[str, Dict[str, int]] = {name: {} for name in targets}

    def read_size(disk: Tuple[str, str]) -> Optional[int]:
        name, target = disk
        try:
            return domains[name].blockInfo(target)[0] if name in domains else None
        except binding.Error:
            return None

    found = map_in_threads(read_size, wanted)
    for (name, target), size in zip(wanted, found):
        known = _read_volume_size(storage, target) if size is None else size
        if known is not None:
            sizes[name][target] = known
    return sizes


def _find(connection: Connection, names: Collection[str]) -> Mapping[str, Domain]:
    """Return the domains of these names that are there: many with one call."""
    with binding.calling("listing the domains"):
        if len(names) > FEW:
            return {domain.name(): domain for domain in connection.listAllDomains()}
    found: Dict[str, Domain] = {}
    for name in names:
        doing = f"domain {name}: looking it up"
        with suppress(NotFoundError), binding.calling(doing, binding.NO_DOMAIN):
            found[name] = connection.lookupByName(name)
    return found


def _uuids(connection: Connection, flag: int) -> FrozenSet[str]:
    return frozenset(domain.UUIDString() for domain in connection.listAllDomains(flag))


def _try_read(domain: Domain, marks: Marks) -> Union[DomainView, Unknown, None]:
    try:
        return isolate(_read, domain, marks)
    except NotFoundError:
        return None
    except ReconcilerError as error:
        return Unknown(str(error))


def _read(domain: Domain, marks: Marks) -> DomainView:
    name, uuid = domain.name(), domain.UUIDString()
    with binding.calling(f"domain {name}: reading it", binding.NO_DOMAIN):
        live = None if domain.ID() == NOT_RUNNING else _read_live(domain)
        persistent = domain.XMLDesc(binding.XML_INACTIVE | binding.XML_SECURE)
        state, reason, errors = _read_state(domain, live, is_plain=uuid not in marks.between)
    is_saved = uuid in marks.saved
    return DomainView(
        name=name,
        uuid=uuid,
        state=state,
        persistent_xml=persistent,
        live_xml=live,
        autostart=uuid in marks.autostart,
        persistent=uuid not in marks.transient,
        saved=is_saved,
        saved_xml=_read_saved(domain) if is_saved else None,
        state_reason=reason,
        disk_errors=errors,
    )


def _read_state(
    domain: Domain, live_xml: Optional[str], *, is_plain: bool
) -> Tuple[GuestState, str, Mapping[str, str]]:
    """Return state, reason and disk errors; a guest that went off just now still ran in its XML."""
    if live_xml is None:
        return GuestState.OFF, "", {}
    if is_plain:
        return GuestState.RUNNING, "", {}
    state, reason = read_state(domain)
    if state is GuestState.OFF:
        return GuestState.RUNNING, "", {}
    errors = read_disk_errors(domain) if reason == "I/O error" else {}
    return state, reason, errors


def _read_saved(domain: Domain) -> str:
    """Return the configuration in a saved state; empty where libvirt cannot read its file."""
    try:
        return domain.managedSaveGetXMLDesc()
    except binding.Error:
        return ""


def _read_live(domain: Domain) -> Optional[str]:
    """Return the running configuration, None if the guest stopped since it was listed.

    libvirt then answers with the stored one; only the running one's root bears an id.
    """
    xml = domain.XMLDesc(binding.XML_SECURE)
    return xml if " id='" in xml[: xml.index(">")] else None


def _read_volume_size(storage: Callable[[], Connection], path: str) -> Optional[int]:
    if not path.startswith("/"):
        return None
    try:
        return storage().storageVolLookupByPath(path).info()[1]
    except (binding.Error, ReconcilerError):
        return None


def read_snapshot(xml: str) -> SnapshotView:
    """Return a snapshot as libvirt describes it."""
    root = parse(xml)
    created = root.findtext("creationTime") or ""
    overlays = {
        element.get("name", ""): read_source(element.find("source")) or ""
        for element in root.iterfind("disks/disk[@snapshot='external']")
    }
    disks = [
        element
        for tag in ("domain", "inactiveDomain")
        for element in root.iterfind(f"{tag}/devices/disk")
    ]
    images = {read_source(disk.find("source")) for disk in disks}
    return SnapshotView(
        root.findtext("name") or "",
        int(created) if created.isdecimal() and len(created) <= MOST_DIGITS else 0,
        overlays,
        tuple(sorted(image for image in images if image)),
    )
