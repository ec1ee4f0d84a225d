"""What images a domain's XML names, and whether it names one wherever in it. Doubt says yes."""

from __future__ import annotations

from typing import Iterator, Optional, Tuple

from reconciler.core.images import ImageUse, SnapshotView
from reconciler.core.xmltree import MOST_DIGITS, Element, is_element, parse
from reconciler.kinds.machine.domain.xml_values import read_source


def mentions_image(xml: str, pool: str, name: str, path: str) -> bool:
    """Whether the definition names the volume, by its path, by its pool, or by its file's name.

    A file of the same name in another folder may be the same one by way of a link, so it counts.
    What stands in `<metadata>` is no use of it.
    """
    return any(_names(element, pool, name, path) for element in _elements(parse(xml)))


def _elements(root: Element) -> Iterator[Element]:
    yield root
    for child in root:
        if is_element(child) and child.tag != "metadata":
            yield from child.iter("*")


def _names(element: Element, pool: str, name: str, path: str) -> bool:
    if element.tag == "source" and element.get("pool") == pool and element.get("volume") == name:
        return True
    values = [str(value) for value in element.attrib.values()]
    values.append((element.text or "").strip())
    return any(value == path or value.endswith(f"/{name}") for value in values)


def read_image_uses(root: Element, domain: str, *, is_live: bool) -> Tuple[ImageUse, ...]:
    """Return what images a domain's disks and drives have, with what the XML lists below them."""
    disks = root.iterfind("devices/disk")
    uses = (_read_use(disk, domain, is_live=is_live) for disk in disks)
    return tuple(use for use in uses if use.path)


def _read_use(disk: Element, domain: str, *, is_live: bool) -> ImageUse:
    driver, target = disk.find("driver"), disk.find("target")
    return ImageUse(
        domain,
        "" if target is None else target.get("dev", ""),
        read_source(disk.find("source")) or "",
        "" if driver is None else driver.get("type", ""),
        writes=disk.find("readonly") is None and disk.get("device") != "cdrom",
        shareable=disk.find("shareable") is not None,
        is_live=is_live,
        below=tuple(_read_below(disk)),
        mirror=_read_mirror(disk.find("mirror")),
    )


def _read_below(disk: Element) -> Iterator[Tuple[str, str]]:
    below = disk.find("backingStore")
    while below is not None:
        name = read_source(below.find("source"))
        if name is None:
            return  # an empty element ends the chain
        kind = below.find("format")
        yield name, "" if kind is None else kind.get("type", "")
        below = below.find("backingStore")


def _read_mirror(mirror: Optional[Element]) -> Optional[str]:
    if mirror is None:
        return None
    return read_source(mirror.find("source")) or mirror.get("file")


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
