"""What holds for every machine and every edit, tried on generated ones."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Dict, Optional, Sequence, Tuple

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.machine import Cdrom, Disk, Interface, Machine, Memory
from reconciler.core.xmltree import Element, parse, serialise
from reconciler.errors import TerminalError
from reconciler.kinds.machine.domain.edit import edit_domain
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.match import align, compare

from .samples import FOREIGN, GIB, foreign

BUSES = {"q35": ("virtio", "scsi", "sata", "usb"), "pc": ("virtio", "scsi", "sata", "ide", "usb")}
NAMES = st.sampled_from(["root", "data", "x-1", "seed", "logs", "swap"])


def maybe(strategy: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.none() | strategy


@st.composite
def new_disk(draw: st.DrawFn, name: str, buses: Sequence[str]) -> Disk:
    """Return a disk that the domain does not have yet."""
    return Disk(
        name,
        bus=draw(st.sampled_from(buses)),
        format=draw(st.sampled_from(["qcow2", "raw"])),
        source=draw(st.sampled_from(["/i/a.img", "/dev/vg/b", "pool/c"])),
        cache=draw(st.none() | st.sampled_from(["none", "writeback"])),
        io=draw(st.none() | st.sampled_from(["native", "threads"])),
        discard=draw(st.none() | st.sampled_from(["unmap", "ignore"])),
        serial=draw(st.none() | st.sampled_from(["S1", "a&b"])),
    )


@st.composite
def wanted_machine(draw: st.DrawFn, found: Machine) -> Machine:
    """Return a machine that differs from the found one in any way a manifest could say."""
    buses = BUSES["q35" if "q35" in (found.machine or "") else "pc"]
    keep = [disk for disk in found.disks or () if disk.source and draw(st.booleans())]
    disks = [replace(one, bus=draw(st.none() | st.sampled_from(buses))) for one in keep]
    disks += [draw(new_disk(n, buses)) for n in sorted(draw(st.sets(NAMES, max_size=3)))]
    cdroms = [Cdrom(n, draw(st.sampled_from(buses[1:])), draw(st.sampled_from(["", "/i/x.iso"])))
              for n in sorted(draw(st.sets(NAMES.map(lambda n: f"cd-{n}"), max_size=2)))]  # fmt: skip
    nics = [Interface(f"n{number}", bridge="br0", model="virtio", mac=f"52:54:00:00:00:0{number}")
            for number in range(draw(st.integers(0, 3)))]  # fmt: skip
    return Machine(
        found.name,
        disks=draw(st.none() | st.just(tuple(disks))),
        cdroms=draw(st.none() | st.just(tuple(cdroms))),
        interfaces=draw(st.none() | st.just(tuple(nics))),
        memory=draw(st.none() | st.just(Memory(GIB))),
        guest_agent=draw(st.none() | st.booleans()),
        console=draw(st.none() | st.booleans()),
        graphics=draw(st.none() | st.sampled_from(["none", "vnc", "spice"])),
        video=draw(st.none() | st.sampled_from(["none", "vga", "virtio"])),
        rng=draw(st.none() | st.booleans()),
        tpm=draw(st.none() | st.booleans()),
    )


def edited(xml: str, wanted: Machine) -> Optional[str]:
    """Return the edited domain, or None where the edit is refused."""
    found = read_machine(parse(xml))
    try:
        return edit_domain(xml, compare(wanted, align(wanted, found)))
    except TerminalError:
        return None


CASES = st.sampled_from(FOREIGN).flatmap(
    lambda name: st.tuples(st.just(name), wanted_machine(read_machine(parse(foreign(name)))))
)


@settings(max_examples=150, deadline=None)
@given(CASES)
def test_after_an_edit_nothing_is_left_to_edit(case: Tuple[str, Machine]) -> None:
    name, wanted = case
    after = edited(foreign(name), wanted)
    if after is not None:
        found = read_machine(parse(after))
        assert compare(wanted, align(wanted, found)) == ()
        assert edited(after, wanted) == after


@settings(max_examples=150, deadline=None)
@given(CASES)
def test_targets_boot_numbers_and_controllers_are_sound(case: Tuple[str, Machine]) -> None:
    name, wanted = case
    after = edited(foreign(name), wanted)
    if after is None:
        return
    root = parse(after)
    targets = [element.get("dev") for element in root.iterfind("devices/disk/target")]
    orders = [element.get("order") for element in root.iterfind("devices/*/boot")]
    assert len(targets) == len(set(targets))
    assert len(orders) == len(set(orders))
    assert not (orders and root.findall("os/boot"))
    for bus in ("scsi",):
        users = root.findall(f"devices/disk/target[@bus='{bus}']")
        assert not users or root.find(f"devices/controller[@type='{bus}'][@model]") is not None


def shuffled(xml: str, seed: int) -> str:
    """Return the domain with its devices in another order."""
    root = parse(xml)
    devices = root.find("devices")
    assert devices is not None
    order = list(devices)
    random.Random(seed).shuffle(order)  # noqa: S311 - no secret
    devices.extend(order)
    return serialise(root)


def by_name(machine: Machine) -> Dict[str, object]:
    """Return a machine's values with its devices sorted."""
    values: Dict[str, object] = dict(vars(machine))
    for kind in ("disks", "cdroms", "interfaces"):
        values[kind] = sorted(getattr(machine, kind), key=lambda one: one.name)
    return values


@given(st.sampled_from(FOREIGN), st.integers(0, 2**32))
def test_the_order_of_devices_means_nothing(name: str, seed: int) -> None:
    before = read_machine(parse(foreign(name)))
    after = read_machine(parse(shuffled(foreign(name), seed)))
    assert by_name(before) == by_name(after)
    assert compare(before, align(before, after)) == ()


def names_of(element: Element) -> Tuple[str, ...]:
    return tuple(str(one.tag) for one in element)


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_every_other_line_stays_as_it_was(case: Tuple[str, Machine]) -> None:
    """Of the lines before, only those of devices, boot and memory may be missing after."""
    name, wanted = case
    after = edited(foreign(name), wanted)
    if after is None:
        return
    head = foreign(name).split("<devices>")[0].splitlines()
    kept = set(after.split("<devices>")[0].splitlines())
    gone = [line for line in head if line not in kept]
    assert [line for line in gone if "<boot dev=" not in line and "emory" not in line] == []
    tail = foreign(name).split("</devices>")[1]
    assert after.endswith(f"</devices>{tail}")
