"""Whether a domain's XML names an image, wherever in it and whatever for. Doubt says yes."""

from __future__ import annotations

from typing import Iterator

from reconciler.core.xmltree import Element, is_element, parse


def mentions_image(xml: str, pool: str, name: str, path: str) -> bool:
    """Whether the definition names the volume, by its path, by its pool, or by its file's name.

    A file of the same name in another folder may be the same one by way of a link, so it counts.
    What stands in `<metadata>` is no use of it.
    """
    return any(_names(one, pool, name, path) for one in _elements(parse(xml)))


def _elements(root: Element) -> Iterator[Element]:
    yield root
    for child in root:
        if is_element(child) and child.tag != "metadata":
            yield from child.iter("*")


def _names(element: Element, pool: str, name: str, path: str) -> bool:
    if element.tag == "source" and element.get("pool") == pool and element.get("volume") == name:
        return True
    values = [str(one) for one in element.attrib.values()]
    values.append((element.text or "").strip())
    return any(one == path or one.endswith(f"/{name}") for one in values)
