"""Every golden domain is one that real libvirt takes, gives back, and reads as it was meant.

Definitions only; what a change does to a running guest is `test_effects`'s.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Iterator, Tuple

import pytest

from reconciler.core.machine import Machine, Overlay
from reconciler.core.names import MARK_NAMESPACE, MARK_PREFIX, Owner
from reconciler.core.world import MachineCaps
from reconciler.core.xmltree import parse, serialise
from reconciler.kinds.machine.domain.create import complete_machine
from reconciler.kinds.machine.domain.edit import edit_domain
from reconciler.kinds.machine.domain.mark import owner_xml, read_owner
from reconciler.kinds.machine.domain.overlays import merge_overlays
from reconciler.kinds.machine.domain.read import read_machine
from reconciler.kinds.machine.match import align, compare
from tests.lab.host import LabHost, temporary_host
from tests.real.offering import Offering
from tests.unit.domain.samples import (
    CREATED,
    EDITED,
    FOREIGN,
    NETWORKS,
    create,
    differences,
    foreign,
)

HAS_KVM = Path("/dev/kvm").exists()
# What a definition for KVM becomes on a machine without.
EMULATED = (
    ("type='kvm'", "type='qemu'"),
    (" mode='host-passthrough' check='none' migratable='on'", " mode='maximum' check='none'"),
)


def here(xml: str) -> str:
    """Return a foreign domain as this machine can define it."""
    for text, other in () if HAS_KVM else EMULATED:
        xml = xml.replace(text, other)
    return xml


def offered(caps: MachineCaps) -> MachineCaps:
    """Return what this machine can define of an offer."""
    if HAS_KVM:
        return caps
    return replace(caps, domain_type="qemu", cpu_modes=frozenset({"maximum", "custom"}))


class Definer:
    """Defines domains on the private host, and takes them back."""

    def __init__(self, lab: LabHost, folder: Path) -> None:
        """Use the folder for the files that virsh is given."""
        self._lab = lab
        self._file = folder / "domain.xml"
        self._names: set[str] = set()
        self.offering = Offering.of(lab)

    def define(self, xml: str) -> str:
        """Define, validated against libvirt's schema, and return what libvirt made of it."""
        self._file.write_text(xml, encoding="utf-8")
        name = read_machine(parse(xml)).name
        self.virsh("define", "--validate", str(self._file))
        self._names.add(name)
        return self.dump(name)

    def foreign(self, name: str) -> str:
        """Return a foreign domain as this libvirt writes it."""
        return self.define(self.offering.fit(here(foreign(name))))

    def wrote_golden(self) -> bool:
        """Whether this libvirt has the version that wrote the golden domains; newer ones write more."""
        return "daemon: 9.0." in self.virsh("version", "--daemon")

    def dump(self, name: str) -> str:
        """Return the stored definition."""
        return self.virsh("dumpxml", "--inactive", "--security-info", name).strip() + "\n"

    def virsh(self, *words: str) -> str:
        """Run virsh on the host; a failure says what libvirt said."""
        done = self._lab.virsh(*words, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def clear(self) -> None:
        """Undefine all that was defined."""
        for name in self._names:
            self.virsh("undefine", "--nvram", name)


@pytest.fixture(scope="module")
def host() -> Iterator[LabHost]:
    """Return a host of its own: to define for KVM, a KVM that can boot a guest is not needed."""
    with temporary_host(kvm=HAS_KVM) as host:
        yield host


@pytest.fixture
def definer(host: LabHost, tmp_path: Path) -> Iterator[Definer]:
    """Return a definer that leaves nothing behind."""
    definer = Definer(host, tmp_path)
    yield definer
    definer.clear()


def same(wanted: Machine, found: Machine) -> Tuple[object, ...]:
    """Return what is wanted and not found."""
    return compare(wanted, align(wanted, found))


@pytest.mark.parametrize("name", CREATED)
def test_a_created_domain_defines_and_reads_as_completed(name: str, definer: Definer) -> None:
    machine, caps = definer.offering.narrow(*CREATED[name])
    caps = offered(caps)
    xml = definer.define(create(machine, caps))
    assert same(complete_machine(machine, caps, NETWORKS), read_machine(parse(xml))) == ()
    assert serialise(parse(xml)) == xml


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_domain_is_what_libvirt_wrote(name: str, definer: Definer) -> None:
    golden, written = here(foreign(name)), definer.foreign(name)
    if definer.offering.fit(golden) == golden and definer.wrote_golden():
        assert written == golden
    assert (
        same(read_machine(parse(definer.offering.fit(golden))), read_machine(parse(written))) == ()
    )
    assert definer.define(written) == written


@pytest.mark.parametrize("name", EDITED)
def test_an_edited_domain_defines_and_reads_as_wanted(name: str, definer: Definer) -> None:
    source, wanted = EDITED[name]
    before = definer.foreign(source)
    after = definer.define(edit_domain(before, differences(before, wanted)))
    desired = wanted(read_machine(parse(before)))
    assert same(desired, read_machine(parse(after))) == ()
    assert edit_domain(after, differences(after, lambda _: desired)) == after


OVERLAYS = (
    Overlay("/domain/devices/memballoon", "<stats period='5'/>"),
    Overlay("/domain/cputune", "<shares>512</shares>"),
    Overlay("/domain/clock", "<timer name='kvmclock' present='yes'/>"),
    Overlay("/domain/devices", "<watchdog model='i6300esb' action='reset'/>"),
    Overlay(
        "/domain",
        "<qemu:commandline xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>"
        "<qemu:arg value='-name'/></qemu:commandline>",
    ),
    Overlay("/domain/devices/sound", present=False),
)


@pytest.mark.parametrize("name", ["linux-q35", "linux-pc", "windows-q35", "windows-pc"])
def test_a_merged_overlay_is_no_difference_afterwards(name: str, definer: Definer) -> None:
    after = definer.define(merge_overlays(definer.foreign(name), OVERLAYS))
    assert merge_overlays(after, OVERLAYS) == after


OWNERS = (
    Owner("linux-q35", "g-1", '{"a": "<b> & \\"c\\""}', "debian12", ("/i/a.qcow2", "/i/b & c")),
    Owner("linux-q35", "g-2", "{}"),
)


def test_the_mark_is_set_and_replaced_by_libvirts_own_call(definer: Definer) -> None:
    definer.define(definer.foreign("linux-q35"))
    for owner in OWNERS:
        definer.virsh(
            *("metadata", "linux-q35", MARK_NAMESPACE, "--config", "--key", MARK_PREFIX),
            *("--set", owner_xml(owner)),
        )
        xml = definer.dump("linux-q35")
        assert read_owner(parse(xml)) == owner
        assert "http://debian.org/debian/11" in xml


def test_an_edit_keeps_the_mark(definer: Definer) -> None:
    machine, caps = CREATED["linux"][0], offered(CREATED["linux"][1])
    xml = definer.define(create(machine, caps))
    moved = replace(machine, disks=tuple(replace(disk, bus="sata") for disk in machine.disks or ()))
    after = definer.define(edit_domain(xml, differences(xml, lambda _: moved)))
    assert read_owner(parse(after)) == read_owner(parse(xml))
