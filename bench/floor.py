"""The floor of a plan: the reads that no plan can do without, and nothing else.

`floor.py URI FOLDER THREADS [sizes]`: connect, list the domains, read each one's stored XML, parse
it with lxml, load the folder's YAML with libyaml. `sizes` asks for the size of each disk as well.
Imports nothing of the product, and no more of the standard library than it needs.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Callable, List, Sequence, Tuple

import libvirt  # type: ignore[import-untyped,unused-ignore]  # the binding has no types
import yaml
from lxml import etree


def main(uri: str, folder: str, threads: int, *, sizes: bool) -> None:
    """Read everything once, and say how much it was."""
    connection = libvirt.open(uri)
    domains = connection.listAllDomains()
    texts = spread(read_xml, domains, threads)
    images = [find_images(etree.fromstring(text)) for text in texts]
    if sizes:
        spread(read_sizes, list(zip(domains, images)), threads)
    documents = sum(count_documents(one.path) for one in os.scandir(folder))
    print(f"{len(images)} domains, {documents} documents")


def read_xml(domain: Any) -> str:
    """Return the stored definition."""
    text: str = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    return text


def find_images(tree: Any) -> List[str]:
    """Return the paths of the disks' images."""
    return [element.get("file") for element in tree.iterfind("devices/disk/source")]


def read_sizes(pair: Tuple[Any, List[str]]) -> List[int]:
    """Return the size of each disk."""
    domain, images = pair
    return [domain.blockInfo(image)[0] for image in images]


def count_documents(path: str) -> int:
    """Load one file of manifests."""
    with open(path, "rb") as file:
        return len(list(yaml.load_all(file, yaml.CSafeLoader)))


def spread(function: Callable[[Any], Any], items: Sequence[Any], threads: int) -> List[Any]:
    """Do it to all items, in that many threads: libvirt's calls release the GIL."""
    if threads == 1:
        return [function(item) for item in items]
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - not in one thread

    parts = [items[start::threads] for start in range(threads)]
    with ThreadPoolExecutor(threads) as pool:
        done = list(pool.map(lambda part: [function(one) for one in part], parts))
    return [done[index % threads][index // threads] for index in range(len(items))]


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sizes="sizes" in sys.argv[4:])
