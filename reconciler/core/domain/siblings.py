"""Which child of an element is the one that a fragment means.

An element that can stand only once is simply the child of that tag. An element of a list is told
from its siblings by what the table below says, else by the identifying attributes that the fragment
gives; never by position.
"""

from __future__ import annotations

from typing import List, Mapping, Optional, Tuple

from reconciler.core.xmltree import Element, children_of
from reconciler.errors import TerminalError

# Elements of lists, each with what makes it this one: attributes, of itself or of a child. A
# fragment with another value here means another element, even if there is only one so far.
_KEYS: Mapping[str, Tuple[str, ...]] = {
    "arg": ("@value",),
    "capability": ("@name",),
    "capabilities": ("@name",),
    "cell": ("@id",),
    "channel": ("target/@name",),
    "controller": ("@type", "@index"),
    "device": ("@alias",),
    "disk": ("alias/@name", "target/@dev"),
    "emulatorsched": ("@scheduler",),
    "entry": ("@name",),
    "env": ("@name",),
    "feature": ("@name",),
    "filesystem": ("target/@dir",),
    "hostdev": (
        "@type", "source/address/@domain", "source/address/@bus", "source/address/@slot",
        "source/address/@function", "source/address/@uuid", "source/vendor/@id",
        "source/product/@id",
    ),
    "input": ("@type", "@bus"),
    "interface": ("alias/@name", "mac/@address"),
    "iothread": ("@id",),
    "iothreadpin": ("@iothread",),
    "iothreadsched": ("@iothreads",),
    "memnode": ("@cellid",),
    "page": ("@size",),
    "parameter": ("@name",),
    "property": ("@name",),
    "shmem": ("@name",),
    "timer": ("@name",),
    "vcpupin": ("@vcpu",),
    "vcpusched": ("@vcpus",),
}  # fmt: skip
_GENERAL = ("@name", "@id", "@index", "@type", "@model", "@bus", "@alias", "@dev")


def find_counterpart(parent: Element, wanted: Element, path: str) -> Optional[Element]:
    """Return the child that `wanted` means, or None if it is not there yet."""
    alike = [one for one in children_of(parent) if one.tag == wanted.tag]
    keys = _keys_of(wanted)
    if keys is not None:
        found = _same_by(keys, alike, wanted)
    elif len(alike) > 1:
        found = _same_by(_given(wanted, _GENERAL), alike, wanted)
    else:
        found = alike
    if len(found) > 1:
        raise TerminalError(
            f"xml[{path}]: fits {len(found)} elements; name one of them in the path"
        )
    return found[0] if found else None


def means_same(found: Optional[str], wanted: str) -> bool:
    """Whether two texts mean the same: equal, or one number in two spellings (0x01 and 0x1)."""
    if found is None or found == wanted:
        return found is not None
    left, right = _number(found), _number(wanted)
    return left is not None and left == right


def _keys_of(wanted: Element) -> Optional[Tuple[str, ...]]:
    """Return the keys that the fragment gives; None if it gives none, or is of no list."""
    local = wanted.tag.rsplit("}", 1)[-1]
    return _given(wanted, _KEYS.get(local, ())) or None


def _given(wanted: Element, keys: Tuple[str, ...]) -> Tuple[str, ...]:
    return tuple(one for one in keys if _value(wanted, one) is not None)


def _same_by(keys: Tuple[str, ...], alike: List[Element], wanted: Element) -> List[Element]:
    return [
        one
        for one in alike
        if all(means_same(_value(one, key), _value(wanted, key) or "") for key in keys)
    ]


def _value(element: Element, key: str) -> Optional[str]:
    path, _, name = key.rpartition("@")
    place = element.find(path.rstrip("/")) if path else element
    return None if place is None else place.get(name)


def _number(text: str) -> Optional[int]:
    try:
        return int(text, 0)
    except ValueError:
        return None
