"""The escape hatch: what a fragment changes, and what it leaves alone."""

from __future__ import annotations

from typing import Dict, List, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.machine import Overlay
from reconciler.core.xmltree import parse
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain.overlays import compare_overlays, merge_overlays
from reconciler.kinds.machine.match import DifferenceKind

from .samples import FOREIGN, foreign

QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
BALLOON = Overlay("/domain/devices/memballoon", "<stats period='5'/>")
TIMER = Overlay("/domain/clock", "<timer name='kvmclock' present='yes'/>")
ARGUMENT = Overlay(
    "/domain",
    f"<q:commandline xmlns:q='{QEMU}'><q:arg value='-s'/><q:env name='A' value='2'/></q:commandline>",
)

Row = Tuple[str, DifferenceKind, object, object]


def rows(xml: str, *overlays: Overlay) -> List[Row]:
    found = compare_overlays(xml, overlays)
    return [(one.field, one.kind, one.observed, one.desired) for one in found]


COMPARED: Dict[str, Tuple[str, Overlay, List[Row]]] = {
    "a missing element": (
        "linux-q35",
        BALLOON,
        [
            (
                "xml[/domain/devices/memballoon/stats]",
                DifferenceKind.ADD,
                None,
                "<stats period='5'/>",
            )
        ],
    ),
    "another timer beside those there are": (
        "linux-q35",
        TIMER,
        [
            (
                "xml[/domain/clock/timer]",
                DifferenceKind.ADD,
                None,
                "<timer name='kvmclock' present='yes'/>",
            )
        ],
    ),
    "an attribute of a timer that is there": (
        "linux-q35",
        Overlay("/domain/clock", "<timer name='rtc' tickpolicy='delay'/>"),
        [("xml[/domain/clock/timer/@tickpolicy]", DifferenceKind.CHANGE, "catchup", "delay")],
    ),
    "text": (
        "exotic",
        Overlay("/domain/cputune", "<shares>512</shares>"),
        [("xml[/domain/cputune/shares/text()]", DifferenceKind.CHANGE, "2048", "512")],
    ),
    "one number in two spellings": (
        "exotic",
        Overlay(
            "/domain/devices",
            "<hostdev type='pci'><source><address domain='0' bus='3' slot='0x0' function='0'/>"
            "</source></hostdev>",
        ),
        [],
    ),
    "a path with conditions": (
        "exotic",
        Overlay("/domain/devices/disk[target/@dev='vdb']/driver", "<iothread id='1'/>"),
        [
            (
                "xml[/domain/devices/disk[target/@dev='vdb']/driver/iothread]",
                DifferenceKind.ADD,
                None,
                "<iothread id='1'/>",
            )
        ],
    ),
    "a parent that is not there": (
        "linux-q35",
        Overlay("/domain/cputune", "<shares>512</shares>"),
        [("xml[/domain/cputune/shares]", DifferenceKind.ADD, None, "<shares>512</shares>")],
    ),
    "something that shall not be there": (
        "exotic",
        Overlay("/domain/devices/watchdog/@action", present=False),
        [("xml[/domain/devices/watchdog/@action]", DifferenceKind.REMOVE, "reset", None)],
    ),
    "something that is not there already": (
        "linux-q35",
        Overlay("/domain/devices/watchdog", present=False),
        [],
    ),
    "an argument of QEMU, another being there": (
        "exotic",
        ARGUMENT,
        [
            (
                "xml[/domain/q:commandline/q:arg]",
                DifferenceKind.ADD,
                None,
                f"<q:arg value='-s' xmlns:q='{QEMU}'/>",
            ),
            ("xml[/domain/q:commandline/q:env/@value]", DifferenceKind.CHANGE, "1", "2"),
        ],
    ),
}


@pytest.mark.parametrize("case", COMPARED)
def test_an_overlay_is_compared_leaf_by_leaf(case: str) -> None:
    name, overlay, expected = COMPARED[case]
    assert rows(foreign(name), overlay) == expected


@pytest.mark.parametrize("case", COMPARED)
def test_a_merged_overlay_differs_no_more(case: str) -> None:
    name, overlay, _ = COMPARED[case]
    after = merge_overlays(foreign(name), (overlay,))
    assert rows(after, overlay) == []
    assert merge_overlays(after, (overlay,)) == after


def test_only_the_lines_of_the_fragment_change() -> None:
    before = foreign("exotic").splitlines()
    after = merge_overlays(foreign("exotic"), (TIMER, ARGUMENT)).splitlines()
    assert [one.strip() for one in after if one not in before] == [
        "<qemu:env name='A' value='2'/>",
        "<qemu:arg value='-s'/>",
    ]
    assert [one.strip() for one in before if one not in after] == [
        "<qemu:env name='A' value='1'/>",
    ]


REFUSED = {
    "a relative path": (Overlay("devices", "<a/>"), "must start with /domain"),
    "a function": (Overlay("/domain/devices/disk[last()]", "<a/>"), "only .* is supported"),
    "a position": (Overlay("/domain/devices/disk[1]", "<a/>"), "only .* is supported"),
    "another axis": (Overlay("/domain//disk", "<a/>"), "not a plain step"),
    "several elements": (Overlay("/domain/devices/disk", "<a/>"), "fits 5 elements"),
    "several counterparts": (Overlay("/domain/devices", "<disk type='file'/>"), "in the path"),
    "no XML": (Overlay("/domain", "<a>"), "not well-formed"),
    "an unknown prefix": (Overlay("/domain/x:y", "<a/>"), "prefix 'x'"),
    "entities": (Overlay("/domain", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>"), "document type"),
    "the domain itself": (Overlay("/domain", present=False), "cannot be removed"),
    "an attribute as parent": (Overlay("/domain/@type", "<a/>"), "must name an element"),
    "an element that only a path describes": (
        Overlay("/domain/devices/disk[target/@dev='vdz']", "<a/>"),
        "does not say enough to create one",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_overlay_is_refused_with_its_path(case: str) -> None:
    overlay, reason = REFUSED[case]
    with pytest.raises(TerminalError, match=reason):
        merge_overlays(
            foreign("exotic")
            .replace("device='lun'", "device='disk' type='file'")
            .replace("type='block' device='disk' type='file'", "type='file' device='disk'"),
            (overlay,),
        )


def test_several_of_them_fit_only_where_nothing_tells_them_apart() -> None:
    overlay = Overlay("/domain/devices", "<disk><target dev='vdb'/><serial>NEW</serial></disk>")
    assert rows(foreign("exotic"), overlay) == [
        ("xml[/domain/devices/disk/serial/text()]", DifferenceKind.CHANGE, "EX-0001", "NEW")
    ]


TAGS = st.sampled_from(["a", "b", "timer", "feature"])
VALUES = st.sampled_from(["1", "0x1", "yes", "o'clock", 'a "b"', "<&>"])
ATTRIBUTES = st.dictionaries(st.sampled_from(["name", "mode", "x"]), VALUES, max_size=2)


@st.composite
def fragments(draw: st.DrawFn, depth: int = 2) -> str:
    """Return an element as text; no two children alike, for those could not be told apart."""
    tag, attributes = draw(TAGS), draw(ATTRIBUTES)
    inner = {child: draw(fragments(depth - 1)) for child in range(draw(st.integers(0, depth)))}
    head = "".join(
        f' {name}="{value.replace("&", "&amp;").replace("<", "&lt;").replace(chr(34), "&quot;")}"'
        for name, value in attributes.items()
    )
    children = {parse(one).tag: one for one in inner.values()}
    return f"<{tag}{head}>{''.join(children.values())}</{tag}>"


@given(
    st.sampled_from(FOREIGN),
    st.lists(
        st.tuples(
            st.sampled_from(["/domain/clock", "/domain/new", "/domain/devices"]), fragments()
        ),
        max_size=3,
        unique_by=lambda pair: (pair[0], parse(pair[1]).tag),
    ),
)
def test_any_overlays_differ_no_more_once_merged(name: str, pairs: List[Tuple[str, str]]) -> None:
    overlays = tuple(Overlay(*pair) for pair in pairs)
    try:
        after = merge_overlays(foreign(name), overlays)
    except TerminalError:
        return
    assert compare_overlays(after, overlays) == ()
    assert merge_overlays(after, overlays) == after
