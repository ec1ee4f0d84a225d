"""Read every domain of the host, for those who look at the host without manifests. Reads only."""

from __future__ import annotations

from typing import Dict, Mapping, Tuple, Union

from reconciler.control.observe import read
from reconciler.control.ports import Host
from reconciler.core.needs import size_key
from reconciler.core.world import DomainView, Reading, Unknown
from reconciler.errors import ReconcilerError


def survey(host: Host) -> Mapping[str, Union[Reading, Unknown]]:
    """Return every domain by name; what cannot be read or understood is Unknown."""
    return {name: understand(view) for name, view in host.domains.list_domains().items()}


def read_sizes(host: Host, reading: Reading) -> Mapping[str, int]:
    """Return path or target → virtual size of a domain's disks, as far as they can be read."""
    disks = reading.persistent.disks or ()
    keys: Tuple[str, ...] = tuple(size_key(one) for one in disks)
    wanted: Dict[str, Tuple[str, ...]] = {reading.view.name: keys}
    return host.domains.read_disk_sizes(wanted).get(reading.view.name, {})


def understand(view: Union[DomainView, Unknown]) -> Union[Reading, Unknown]:
    """Understand one domain; what makes no sense is Unknown."""
    if isinstance(view, Unknown):
        return view
    try:
        return read(view)
    except ReconcilerError as error:
        return Unknown(str(error))
