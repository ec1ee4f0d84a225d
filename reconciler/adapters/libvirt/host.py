"""libvirt: domains, storage and networks of one host, behind the ports of `control`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Callable, FrozenSet, Mapping, Optional, Tuple

from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.connections import NETWORK, SECRET, Connections
from reconciler.adapters.libvirt.domains import LibvirtDomains
from reconciler.core.frozen import frozen, regex, replace
from reconciler.core.preparation import NoPreparer, Preparer
from reconciler.core.secret_refs import (
    NoSecrets,
    SealedSecret,
    SecretRef,
    SecretSource,
    SecretText,
    decode_secret,
    seal_secret,
)
from reconciler.core.transfers import Downloads, NoDownloads
from reconciler.errors import ReconcilerError, TransientError

if TYPE_CHECKING:
    from reconciler.adapters.libvirt.connections import LibvirtEvents
    from reconciler.adapters.libvirt.guests import LibvirtGuests
    from reconciler.adapters.libvirt.objects import Connection, Secret
    from reconciler.adapters.libvirt.storage import LibvirtStorage
    from reconciler.control.ports import Locks, Secrets, Units
    from reconciler.core.guest import Guests
    from reconciler.core.imports import Importer


class LibvirtNetworks:
    """Networks through libvirt's network driver."""

    def __init__(self, connections: Connections) -> None:
        """Keep the connections; nothing is opened yet."""
        self._connections = connections

    def list_networks(self) -> Mapping[str, bool]:
        """Names of all networks, and whether each is active."""
        connection = self._connections.get(NETWORK)
        with binding.calling("listing the networks"):
            names = sorted(network.name() for network in connection.listAllNetworks())
            flag = binding.LIST_ACTIVE_NETWORKS
            active = {network.name() for network in connection.listAllNetworks(flag)}
        return {name: name in active for name in names}

    def list_devices(self) -> Optional[FrozenSet[str]]:
        """Names of the host's network devices, the bridges among them; None if not known.

        Over a remote URI libvirt's interface driver is asked, where there is one.
        """
        if self._connections.is_local:
            from reconciler.adapters.libvirt import own_view  # noqa: PLC0415 - start-up time

            return own_view.list_devices(own_view.find_daemon(self._connections.uri))
        try:
            return frozenset(
                interface.name() for interface in self._connections.get().listAllInterfaces()
            )
        except (binding.Error, ReconcilerError):
            return None


class LibvirtSecrets:
    """Implements `ports.Secrets`: libvirt's own, and those of the host for which it is asked."""

    def __init__(self, connections: Connections, find_local: Callable[[], Secrets]) -> None:
        """Keep the connections; nothing is opened yet."""
        self._connections, self._find_local = connections, find_local

    def read(self, ref: SecretRef) -> SecretText:
        """Read a secret of the host."""
        if ref.source is SecretSource.LIBVIRT:
            return decode_secret(ref, self._read_value(ref))
        if not self._is_here():
            uri = self._connections.uri
            raise TransientError(
                f"{ref}: is on the host of {uri}, which cannot be read from here; "
                "run virt-reconciler there, or keep it in libvirt and name it: {libvirt: UUID}"
            )
        return self._find_local().read(ref)

    def _is_here(self) -> bool:
        return self._connections.is_local or self._connections.uri.startswith("test:")

    def seal(self, ref: SecretRef) -> SealedSecret:
        """Read a secret of the host, and return what recognises it."""
        return seal_secret(self.read(ref), self.find_key())

    def find_key(self) -> Optional[bytes]:
        """Return the key of this host; another host has one of its own."""
        return self._find_local().find_key() if self._is_here() else None

    def _read_value(self, ref: SecretRef) -> bytes:
        connection = self._connections.get(SECRET)
        with binding.calling(str(ref)):
            secret = _find_secret(connection, ref)
            try:
                return secret.value()
            except binding.Error as error:
                if binding.code_of(error) != binding.NO_SECRET:
                    raise
                raise TransientError(
                    f"{ref}: has no value; set it: virsh secret-set-value UUID --file PATH"
                ) from error


def _find_secret(connection: Connection, ref: SecretRef) -> Secret:
    """Return a secret by its UUID, or by its usage whatever that is for."""
    if _UUID.fullmatch(ref.name):
        try:
            return connection.secretLookupByUUIDString(ref.name)
        except binding.Error as error:
            if binding.code_of(error) != binding.NO_SECRET:
                raise
            raise TransientError(f"{ref}: does not exist; see: virsh secret-list") from error
    found = [secret for secret in connection.listAllSecrets() if secret.usageID() == ref.name]
    if len(found) == 1:
        return found[0]
    problem = "several have this usage; name it by its UUID" if found else "does not exist"
    raise TransientError(f"{ref}: {problem}; see: virsh secret-list")


_UUID = regex(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")

NO_SECRETS = NoSecrets("cannot be read from here")
NO_PREPARER = NoPreparer("clones cannot be prepared from here")
ELSEWHERE = "clones are prepared on the host that has them: run virt-reconciler apply there"
FROM_HERE = "nothing is imported from here"
IMPORTS_ELSEWHERE = (
    "a file is imported on the host that has it, and this libvirt is another host's; run "
    "virt-reconciler apply there"
)


def refuse_imports(reason: str = FROM_HERE) -> Importer:
    """Return what imports nothing."""
    from reconciler.core.imports import NoImporter  # noqa: PLC0415 - start-up time

    return NoImporter(reason)


@frozen
class LibvirtHost:
    """One libvirt host; each driver is reached when it is first used."""

    domains: LibvirtDomains
    networks: LibvirtNetworks
    locks: Locks
    secrets: LibvirtSecrets
    find_units: Callable[[], Units]
    find_downloads: Callable[[], Downloads]
    find_storage: Callable[[], LibvirtStorage]
    find_guests: Callable[[], Guests]
    find_preparer: Callable[[], Preparer]
    find_importer: Callable[[], Importer]

    @property
    def units(self) -> Units:
        """Libvirt's daemons."""
        return self.find_units()

    @property
    def preparer(self) -> Preparer:
        """What changes images that no guest has."""
        return self.find_preparer()

    @property
    def importer(self) -> Importer:
        """What copies disks of other hypervisors'."""
        return self.find_importer()

    @property
    def storage(self) -> LibvirtStorage:
        """Pools and volumes."""
        return self.find_storage()

    @property
    def guests(self) -> Guests:
        """The running guests, by their agents."""
        return self.find_guests()

    @property
    def downloads(self) -> Downloads:
        """What brings files from addresses."""
        return self.find_downloads()


def connect(
    uri: Optional[str],
    units: Optional[Callable[[], Units]] = None,
    locks: Optional[Locks] = None,
    secrets: Callable[[], Secrets] = lambda: NO_SECRETS,
    downloads: Callable[[], Downloads] = NoDownloads,
    preparer: Callable[[], Preparer] = lambda: NO_PREPARER,
    importer: Callable[[], Importer] = refuse_imports,
) -> LibvirtHost:
    """Return the host at that URI; None is what libvirt's own tools would use.

    `units` finds what sees its daemons; `locks` keep two runs from working on one object; `secrets`
    finds what reads those that are not libvirt's, `downloads` what brings files from addresses;
    `preparer` finds what changes images of this machine, `importer` what copies those of other
    hypervisors. Nothing is opened yet: that libvirt cannot be reached is told by the first call
    that needs it. Guests are asked on a connection of their own, so that slow ones hold up no other
    call.
    """
    host = _host(Connections(uri), units, locks, secrets, downloads, preparer, importer)
    return replace(host, find_guests=partial(_reach_guests, Connections(uri)))


def attend(
    uri: Optional[str],
    units: Optional[Callable[[], Units]] = None,
    locks: Optional[Locks] = None,
    secrets: Callable[[], Secrets] = lambda: NO_SECRETS,
    downloads: Callable[[], Downloads] = NoDownloads,
    preparer: Callable[[], Preparer] = lambda: NO_PREPARER,
    importer: Callable[[], Importer] = refuse_imports,
) -> Tuple[LibvirtHost, LibvirtEvents]:
    """Return the host at that URI with its news; libvirt's event loop runs from now on.

    Guests are asked on a connection of their own, so that slow ones hold up no other call.
    """
    from reconciler.adapters.libvirt.connections import (  # noqa: PLC0415 - start-up time
        LibvirtEvents,
        keep_up,
        run_event_loop,
    )
    from reconciler.adapters.libvirt.guests import RememberedGuests  # noqa: PLC0415

    run_event_loop()
    connections, beside = Connections(uri), Connections(uri)
    beside.on_open = keep_up
    guests = RememberedGuests(_reach_guests(beside))
    host = _host(connections, units, locks, secrets, downloads, preparer, importer)
    return replace(host, find_guests=lambda: guests), LibvirtEvents(connections)


def _host(
    connections: Connections,
    units: Optional[Callable[[], Units]],
    locks: Optional[Locks],
    secrets: Callable[[], Secrets],
    downloads: Callable[[], Downloads],
    preparer: Callable[[], Preparer],
    importer: Callable[[], Importer],
) -> LibvirtHost:
    return LibvirtHost(
        domains=LibvirtDomains(connections),
        networks=LibvirtNetworks(connections),
        find_units=units or _find_no_units,
        locks=_lock_nothing() if locks is None else locks,
        secrets=LibvirtSecrets(connections, secrets),
        find_downloads=downloads,
        find_storage=partial(_reach_storage, connections),
        find_guests=partial(_reach_guests, connections),
        find_preparer=lambda: preparer() if connections.is_local else NoPreparer(ELSEWHERE),
        find_importer=lambda: importer()
        if connections.is_local
        else refuse_imports(IMPORTS_ELSEWHERE),
    )


def _reach_storage(connections: Connections) -> LibvirtStorage:
    from reconciler.adapters.libvirt.storage import LibvirtStorage  # noqa: PLC0415 - start-up time

    return LibvirtStorage(connections)


def _reach_guests(connections: Connections) -> LibvirtGuests:
    from reconciler.adapters.libvirt.guests import LibvirtGuests  # noqa: PLC0415 - start-up time

    return LibvirtGuests(connections)


def _find_no_units() -> Units:
    from reconciler.control.ports import NoUnits  # noqa: PLC0415 - start-up time

    return NoUnits()


def _lock_nothing() -> Locks:
    from reconciler.control.ports import NoLocks  # noqa: PLC0415 - start-up time

    return NoLocks()
