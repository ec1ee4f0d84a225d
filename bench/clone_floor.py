"""libvirt's own way to a defined clone: make the volume, store the definition, nothing else.

`clone_floor.py URI POOL NAME SOURCE linked|reflink XML`: SOURCE is the image's path, XML a file
with the domain. A reflink is of a raw image, because libvirt can do that for raw alone.
"""

from __future__ import annotations

import sys
from typing import Any

import libvirt  # type: ignore[import-untyped,unused-ignore]  # the binding has no types

LINKED = """\
<volume><name>{name}</name><capacity unit='bytes'>{capacity}</capacity>
<allocation unit='bytes'>0</allocation>
<target><format type='qcow2'/><compat>1.1</compat></target>
<backingStore><path>{source}</path><format type='qcow2'/></backingStore></volume>
"""
RAW = """\
<volume><name>{name}</name><capacity unit='bytes'>{capacity}</capacity>
<target><format type='raw'/></target></volume>
"""


def main(uri: str, pool: str, name: str, source: str, clone: str, domain: str) -> None:
    """Make one clone."""
    connection = libvirt.open(uri)
    make_volume(connection, pool, name, source, clone)
    with open(domain, encoding="utf-8") as file:
        connection.defineXMLFlags(file.read(), libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
    print(f"{name} defined")


def make_volume(connection: Any, pool_name: str, name: str, source: str, clone: str) -> None:
    """Make the volume by libvirt's storage API."""
    pool = connection.storagePoolLookupByName(pool_name)
    image = connection.storageVolLookupByPath(source)
    fields = {"name": name, "source": source, "capacity": image.info()[1]}
    if clone == "linked":
        pool.createXML(LINKED.format(**fields))
    else:
        pool.createXMLFrom(RAW.format(**fields), image, libvirt.VIR_STORAGE_VOL_CREATE_REFLINK)


if __name__ == "__main__":
    main(*sys.argv[1:])
