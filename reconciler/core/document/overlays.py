"""Whether the pieces of XML in `xml` can be merged at all, before any domain is known.

What a path means is decided by `core.domain`, whose own parser is asked here; this file only adds
what a manifest may not touch.
"""

from __future__ import annotations

from typing import Any, Iterator, Mapping, Sequence

from reconciler.core.document.finding import Finding, Path
from reconciler.core.domain.owner import NAMESPACE
from reconciler.core.domain.places import find_place
from reconciler.core.model import Overlay
from reconciler.core.xmltree import (
    MOST_NESTED,
    Element,
    children_of,
    make,
    measure_depth,
    parse,
)
from reconciler.errors import TerminalError

_OWNED = ("name", "uuid")
# Parts without which there is no machine to speak of.
_WHOLE = frozenset({"/domain", "/domain/devices", "/domain/metadata", "/domain/os"})


def check_overlays(
    overlays: Sequence[Overlay], data: Sequence[Mapping[str, Any]]
) -> Iterator[Finding]:
    """Yield what is wrong with each entry."""
    for index, (overlay, entry) in enumerate(zip(overlays, data)):
        path: Path = ("spec", "xml", index)
        if entry.get("absent") is False:
            yield Finding((*path, "absent"), "only true has a meaning; remove the entry instead")
        yield from _check_xpath((*path, "xpath"), overlay)
        if overlay.present:
            yield from _check_fragment((*path, "fragment"), overlay)


def _check_xpath(path: Path, overlay: Overlay) -> Iterator[Finding]:
    xpath = overlay.xpath
    try:
        place = find_place(make("domain"), xpath)
    except TerminalError as error:
        yield Finding(path, str(error).replace(f"xml[{xpath}]: ", "", 1))
        return
    if not (xpath == "/domain" or xpath.startswith("/domain/")):
        yield Finding(path, f"{xpath} does not begin with /domain/")
    elif overlay.present and place.attribute is not None:
        yield Finding(path, "must name an element, not an attribute; set it in the fragment")
    elif any(_is_within(xpath, f"/domain/{one}") for one in _OWNED):
        yield Finding(path, _owned(xpath))
    elif not overlay.present and xpath in _WHOLE:
        yield Finding(path, f"{xpath} cannot be absent")


def _is_within(xpath: str, ancestor: str) -> bool:
    return xpath == ancestor or xpath.startswith((f"{ancestor}/", f"{ancestor}["))


def _owned(what: str) -> str:
    return f"{what} is kept by virt-reconciler itself and cannot be set here"


def _check_fragment(path: Path, overlay: Overlay) -> Iterator[Finding]:
    try:
        root = parse(overlay.fragment.strip(), is_ours=True)
    except TerminalError as error:
        yield Finding(path, _explain(overlay.fragment, error))
        return
    if measure_depth(overlay.fragment) > MOST_NESTED:
        yield Finding(path, f"XML nested more than {MOST_NESTED} deep is refused")
    if overlay.xpath == "/domain" and root.tag in (*_OWNED, "domain"):
        yield Finding(path, _owned(f"<{root.tag}>"))
    if any(_is_ours(one) for one in root.iter("*")):
        yield Finding(path, _owned("its mark in <metadata>"))


def _is_ours(element: Element) -> bool:
    return str(element.tag).startswith(f"{{{NAMESPACE}}}")


def _explain(fragment: str, error: TerminalError) -> str:
    """Say "several elements" rather than the parser's words for it."""
    try:
        count = len(children_of(parse(f"<all>{fragment}</all>")))
    except TerminalError:
        return str(error)
    return f"holds {count} elements, not one; write an entry for each" if count != 1 else str(error)
