"""What an edit changes in a domain besides what it was asked for. Pure."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from typing import Dict, FrozenSet, Iterator, List, Mapping, Optional, Sequence, Tuple, Union

from reconciler.core.field_table import FEATURES, bound
from reconciler.core.frozen import frozen, replace
from reconciler.core.machine import Cpus, Machine, Memory
from reconciler.core.names import MARK_NAMESPACE, name_of
from reconciler.core.plan import Value
from reconciler.core.secret_text import is_secret_name
from reconciler.core.xmltree import (
    Element,
    attributes_of,
    children_of,
    is_element,
    parse,
    parse_number,
    qualified_name,
    serialise,
)
from reconciler.kinds.machine.domain.edit import edit_domain
from reconciler.kinds.machine.domain.layout import find_device
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.match import (
    Difference,
    DifferenceKind,
    align,
    compare,
    show_values,
)

HIDDEN = "(hidden)"
PER_DEVICE = "per-device order"
_NUMBER = "virReconcilerNumber"  # an attribute that no domain has

# Where things sit, what libvirt derives from the rest, and what is ours.
_PLACES = frozenset({"address", "alias", "controller", "backingStore", "metadata", "vcpus"})
# Per device, what is no news when it changes: patterns of places below it. The device's own fields
# come from the table; these are what only goes with them, or what libvirt fills in.
_OWN: Mapping[str, Tuple[str, ...]] = {
    "disk": ("@type", "@device", "target/@dev", "source", "source/@*"),
    "interface": ("@type", "source/@portid", "target/@dev"),
    "graphics": (
        "@type", "@tlsPort", "@autoport", "@websocket", "@listen", "image*", "jpeg*", "zlib*",
        "playback*", "streaming*", "clipboard*", "mouse*", "filetransfer*", "channel*", "gl*",
    ),
    "video": ("model/@type", "model/@vram*", "model/@ram", "model/@vgamem", "model/@heads",
              "model/@primary"),
    "serial": ("*",),
    "console": ("*",),
}  # fmt: skip
_TABLES: Mapping[str, str] = {
    "disk": "disks[].",
    "cdrom": "cdroms[].",
    "interface": "interfaces[].",
}
# Elements of which there are many, each with the attribute by which one is told from the others.
_NUMBERED = {
    "vcpupin": "vcpu",
    "vcpusched": "vcpus",
    "cachetune": "vcpus",
    "memorytune": "vcpus",
    "iothreadpin": "iothread",
    "cell": "id",
}
_ROOT = "0"  # the number of the domain itself
_DEFAULTS = (("@port", "-1"),)
_GROUPS = ("", "cpus.", "memory.")
# Read whole, with their attributes.
_WHOLE = ("vcpu/@current", "memory/*", "currentMemory", "currentMemory/*", "sysinfo", "sysinfo/*")

# What a serial port, an agent's channel and the like are when we make them.
_USUAL = (None, "pty", "unix")
_NAMES = ("type", "model", "id")  # attributes by which other devices are told apart

_SPICE = "it works with SPICE only"
# Why, by the beginning of the path.
_REASONS: Sequence[Tuple[str, str]] = (
    ("os/boot", "libvirt allows only one kind of boot order"),
    ("devices/redirfilter", "no USB redirection is left"),
    ("devices/video/", "the new display has no OpenGL"),
    ("cputune/", "that processor no longer exists"),
    *((f"devices/{tag}", _SPICE) for tag in ("channel", "smartcard", "redirdev", "audio")),
)


@frozen
class Consequence:
    """One thing that changes beside what was asked for; `path` is as people read it."""

    path: str
    observed: Value
    desired: Value
    reason: str = ""


def find_consequences(
    xml: str, edits: Sequence[Difference], desired: Machine, stored: Machine
) -> Tuple[Consequence, ...]:
    """Return what the edits change in the definition besides themselves.

    `stored` is the definition with its devices named as in `desired`.
    """
    if not edits:
        return ()
    before = parse(xml)
    for number, element in enumerate(before.iter("*")):
        element.set(_NUMBER, str(number))
    after = parse(edit_domain(serialise(before), edits))
    fields = _compare_fields(desired, stored, after, frozenset(edit.path for edit in edits))
    return (*fields, *_Comparison(before, after, edits, stored).find())


def _compare_fields(
    desired: Machine, stored: Machine, after: Element, named: FrozenSet[str]
) -> Iterator[Consequence]:
    edited = align(desired, read_machine(after))
    # What stands outside the XML is in neither of the two.
    disks = tuple(replace(disk, size=None) for disk in stored.disks or ())
    former = replace(stored, power=None, autostart=None, disks=disks)
    found: Dict[str, Consequence] = {}
    for difference in compare(edited, former):
        if difference.kind is DifferenceKind.CHANGE:
            found[difference.path] = Consequence(difference.path, *show_values(difference))
    for difference in compare(former, edited):  # also what is not there any more
        if difference.kind is DifferenceKind.CHANGE:
            lost, there = show_values(difference)
            found.setdefault(difference.path, Consequence(difference.path, there, lost))
    for group, size in (("cpus", "count"), ("memory", "size")):
        if _has_no_reserve(getattr(former, group), size) and _has_no_reserve(
            getattr(edited, group), size
        ):
            found.pop(f"{group}.maximum", None)
    yield from (consequence for path, consequence in found.items() if path not in named)


def _has_no_reserve(group: Union[Cpus, Memory, None], size: str) -> bool:
    """Whether the maximum is nothing but what the guest has."""
    return group is not None and getattr(group, size) == group.maximum


class _Comparison:
    """A definition before and after an edit, element by element."""

    def __init__(
        self, before: Element, after: Element, edits: Sequence[Difference], stored: Machine
    ) -> None:
        """Pair the elements, and note what is asked for."""
        self._before = before
        self._stored = stored
        self._replaced = {
            path.split("/")[0]
            for field in {edit.field for edit in edits} & set(FEATURES)
            for path in FEATURES[field].parts
        }
        removed = (
            edit for edit in edits if edit.kind is DifferenceKind.REMOVE and "[]" in edit.field
        )
        self._removed = {find_device(before, difference).get(_NUMBER) for difference in removed}
        left = {
            element.get(_NUMBER): element for element in after.iter("*") if element.get(_NUMBER)
        }
        self._twins: Dict[Optional[str], Element] = {before.get(_NUMBER): after}
        self._pair(before, after, left)

    def find(self) -> Iterator[Consequence]:
        """Yield each thing that changed and has no field."""
        for child in children_of(self._before):
            if child.tag == "devices":
                yield from self._find_in_devices(child)
            elif child.tag == "os":
                yield from self._find_boot(child)
            elif child.tag not in _PLACES:
                own = tuple(field.path for group in _GROUPS for field in bound(group))
                yield from self._compare(child, child.tag, child.tag, (*own, *_WHOLE))

    def _pair(self, before: Element, after: Element, left: Mapping[Optional[str], Element]) -> None:
        """Find what has become of each child: itself, or the new one of its kind in its place."""
        new = [child for child in children_of(after) if child.get(_NUMBER) is None]
        for child in children_of(before):
            twin = left.get(child.get(_NUMBER))
            if twin is None and (before.tag != "devices" or child.tag in self._replaced):
                twin = next((element for element in new if element.tag == child.tag), None)
                new = [element for element in new if element is not twin]
            if twin is not None:
                self._twins[child.get(_NUMBER)] = twin
                self._pair(child, twin, left)

    def _find_boot(self, os: Element) -> Iterator[Consequence]:
        kinds = [element.get("dev", "") for element in os.findall("boot")]
        twin = self._twins.get(os.get(_NUMBER))
        left = [] if twin is None else [element.get("dev", "") for element in twin.findall("boot")]
        if kinds != left:
            yield _explain("os/boot", ", ".join(kinds), ", ".join(left) or PER_DEVICE)
        elif not kinds and _has_order(self._before) and not _has_order(self._twins[_ROOT]):
            yield Consequence("os/boot", PER_DEVICE, "hd", "no device with a boot order is left")

    def _find_in_devices(self, devices: Element) -> Iterator[Consequence]:
        gone = set()
        for device in children_of(devices):
            tag, number = device.tag, device.get(_NUMBER)
            if tag in _PLACES or number in self._removed:
                continue
            twin = self._twins.get(number)
            if twin is not None and twin.get(_NUMBER) is None:
                gone.add(tag)  # the change itself says what became of it
            if twin is None and tag in self._replaced and tag not in gone:
                gone.add(tag)
                if device.get("type") in _USUAL:
                    continue  # the change itself says that it is gone
            kind = "cdrom" if device.get("device") == "cdrom" else tag
            fields = bound(_TABLES[kind]) if kind in _TABLES else ()
            own = (*_OWN.get(tag, ()), *(field.path for field in fields))
            yield from self._compare(device, self._name(device), "", own)
            if device.get("device") == "floppy":  # it has no field for its place in the order
                yield from self._find_new_order(device)

    def _find_new_order(self, device: Element) -> Iterator[Consequence]:
        twin = self._twins.get(device.get(_NUMBER))
        boot = None if twin is None else twin.find("boot")
        if boot is not None and device.find("boot") is None:
            order = parse_number(boot.get("order", "0"))
            yield Consequence(f"{self._name(device)}.boot", None, order)

    def _compare(
        self, former: Element, path: str, place: str, own: Sequence[str]
    ) -> Iterator[Consequence]:
        """Compare an element with what has become of it; `place` is its path below its device."""
        if place and former.tag in _PLACES:
            return
        twin = self._twins.get(former.get(_NUMBER))
        if twin is None:
            if not (place and _is_own(place, own)):
                yield _explain(path, describe_element(former), None)
            return
        now = dict(_leaves(twin))
        for leaf, value in _leaves(former):
            is_own = _is_own(f"{place}/{leaf}".lstrip("/"), own) or (leaf, value) in _DEFAULTS
            is_own = is_own or (leaf == "@passwd" and leaf in now)  # it has a field
            if now.get(leaf) != value and not is_own:
                yield _explain(f"{path}/{leaf}", value, now.get(leaf))
        for child in children_of(former):
            below = f"{place}/{child.tag}".lstrip("/")
            key = _NUMBERED.get(child.tag)
            name = f"{child.tag}[{child.get(key)}]" if key else child.tag
            yield from self._compare(child, f"{path}/{name}", below, own)

    def _name(self, device: Element) -> str:
        """Return the device's path as the manifest names it, or by what tells it apart."""
        target, mac = (device.find(tag) for tag in ("target", "mac"))
        if device.tag == "interface" and mac is not None:
            for card in self._stored.interfaces or ():
                if card.mac == mac.get("address"):
                    return f"interfaces[{card.name}]"
        if device.tag == "disk" and target is not None:
            drives = [("disks", disk.target, disk.name) for disk in self._stored.disks or ()]
            drives += [("cdroms", cdrom.target, cdrom.name) for cdrom in self._stored.cdroms or ()]
            for listing, place, name in drives:
                if place == target.get("dev"):
                    return f"{listing}[{name}]"
            return f"devices/disk[{target.get('dev')}]"
        names = (None if target is None else target.get("name"), *map(device.get, _NAMES))
        known = next((name for name in names if name), None)
        return f"devices/{device.tag}[{known}]" if known else f"devices/{device.tag}"


def _has_order(root: Element) -> bool:
    return root.find("devices/*/boot") is not None


def describe_element(element: Element) -> str:
    """Return its attributes and those below it in one line, without addresses and secrets."""
    words: List[str] = []
    for part in element.iter("*"):
        if part.tag in _PLACES:
            continue
        for leaf, value in _leaves(part):
            name = leaf.lstrip("@")
            shown = HIDDEN if is_secret_name(name) else value
            words.append(shown if leaf in ("@type", "text()") else f"{name}={shown}")
    return " ".join(dict.fromkeys(words)) or element.tag


def _leaves(element: Element) -> List[Tuple[str, str]]:
    """Return the attributes as `@name`, and the text as `text()`."""
    pairs = [(f"@{name}", value) for name, value in attributes_of(element) if name != _NUMBER]
    text = (element.text or "").strip()
    return [*pairs, ("text()", text)] if text else pairs


def _is_own(place: str, own: Sequence[str]) -> bool:
    return any(fnmatchcase(place, pattern) for pattern in own)


def _explain(path: str, observed: Optional[str], desired: Optional[str]) -> Consequence:
    reason = next((why for start, why in _REASONS if path.startswith(start)), "")
    if is_secret_name(path.rpartition("@")[2]):
        observed, desired = observed and HIDDEN, desired and HIDDEN
    return Consequence(path, observed, desired, reason)


# What follows from devices that come and go, and is put where they need it.
_IDENTITY = frozenset({"address", "alias", "controller"})
_NAMED = ("disk", "interface")

Lines = Tuple[str, ...]


def find_rest(one: str, other: str, named: FrozenSet[str] = frozenset()) -> Tuple[Lines, Lines]:
    """Return the lines that only the one has, and those that only the other has.

    Devices of a name in `named`, and where devices sit, are left out.
    """
    return _differ(list(_lines(one, named, plain=False)), list(_lines(other, named, plain=False)))


def find_all(one: str, other: str) -> Tuple[Lines, Lines]:
    """Return the same with nothing left out but our mark."""
    everything: FrozenSet[str] = frozenset()
    return _differ(
        list(_lines(one, everything, plain=True)), list(_lines(other, everything, plain=True))
    )


def is_like(xml: str, old: Lines, new: Lines) -> bool:
    """Whether a running configuration certainly has the new lines, and none of the old."""
    there = set(_lines(xml, frozenset(), plain=False))
    return there.issuperset(new) and not there.intersection(old)


def _differ(one: Sequence[str], other: Sequence[str]) -> Tuple[Lines, Lines]:
    return _without(one, other), _without(other, one)


def _without(lines: Sequence[str], others: Sequence[str]) -> Lines:
    left, found = Counter(others), []
    for line in lines:
        left[line] -= 1
        if left[line] < 0:
            found.append(line)
    return tuple(found)


def _lines(xml: str, named: FrozenSet[str], *, plain: bool) -> Iterator[str]:
    return _below(parse(xml), "", named, plain)


def _below(element: Element, path: str, named: FrozenSet[str], plain: bool) -> Iterator[str]:  # noqa: FBT001
    here = f"{path}/{qualified_name(element)}"
    text = (element.text or "").strip()
    pairs = "".join(f" {name}='{value}'" for name, value in attributes_of(element))
    yield f"{here}{pairs}{f': {text}' if text else ''}"
    for child in element:
        if is_element(child) and not _is_left_out(child, named, plain):
            yield from _below(child, here, named, plain)


def _is_left_out(element: Element, named: FrozenSet[str], plain: bool) -> bool:  # noqa: FBT001
    if f"{{{MARK_NAMESPACE}}}" in element.tag or _holds_nothing_else(element):
        return True
    if plain:
        return False
    parent = element.getparent()
    is_target = element.tag == "target" and parent is not None and parent.tag in _NAMED
    return is_target or element.tag in _IDENTITY or bool(named & set(_names(element)))


def _holds_nothing_else(element: Element) -> bool:
    """Whether it is the place of our mark alone; newer libvirt drops it with the mark."""
    return element.tag == "metadata" and all(
        f"{{{MARK_NAMESPACE}}}" in child.tag for child in element if is_element(child)
    )


def _names(element: Element) -> List[str]:
    if element.tag not in _NAMED:
        return []
    alias, target, mac = (element.find(tag) for tag in ("alias", "target", "mac"))
    known = [
        None if alias is None else name_of(alias.get("name")),
        None if target is None else target.get("dev"),
        None if mac is None else mac.get("address"),
    ]
    return [name for name in known if name]
