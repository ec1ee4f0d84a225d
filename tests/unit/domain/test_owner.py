"""Our mark: written, read, replaced, and nobody else's touched."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.names import Owner
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.mark import owner_xml, read_owner, set_owner

from .samples import FOREIGN, OWNER, foreign

TEXT = st.text(st.characters(min_codepoint=32, blacklist_categories=("Cs", "Cn")), max_size=20)
OWNERS = st.builds(
    Owner,
    TEXT,
    TEXT,
    TEXT.filter(bool),
    st.none() | TEXT,
    st.lists(TEXT, max_size=3).map(tuple),
    st.none() | TEXT,
    st.lists(TEXT, max_size=3).map(tuple),
    formerly=st.lists(TEXT, max_size=3).map(tuple),
)


@pytest.mark.parametrize("name", FOREIGN)
def test_a_domain_from_elsewhere_is_not_ours(name: str) -> None:
    assert read_owner(parse(foreign(name))) is None


@given(st.sampled_from(FOREIGN), OWNERS, OWNERS)
def test_the_mark_is_read_as_it_was_written(name: str, first: Owner, second: Owner) -> None:
    once = set_owner(foreign(name), first)
    assert read_owner(parse(once)) == first
    twice = set_owner(once, second)
    assert read_owner(parse(twice)) == second
    assert twice.count("urn:virt-reconciler:domain:1") == 1


@pytest.mark.parametrize("name", FOREIGN)
def test_every_other_line_stays(name: str) -> None:
    before, after = foreign(name).splitlines(), set_owner(foreign(name), OWNER).splitlines()
    assert [line for line in after if line in before] == before
    assert [line.strip() for line in after if line not in before] == [
        '<vr:manifest xmlns:vr="urn:virt-reconciler:domain:1" name="vm" generation="sha-1"'
        ' os="debian12">',
        '<vr:spec>{"cpus": 2}</vr:spec>',
        "</vr:manifest>",
    ]


def test_metadata_is_made_where_libvirt_writes_it() -> None:
    xml = "<domain>\n  <name>x</name>\n  <uuid>u</uuid>\n  <memory>1</memory>\n</domain>\n"
    tags = [one.tag for one in parse(set_owner(xml, OWNER))]
    assert tags == ["name", "uuid", "metadata", "memory"]


def test_the_mark_for_libvirt_has_no_prefix() -> None:
    assert owner_xml(Owner("vm", "g", "{}", None, ("/i/a",))) == (
        "<manifest name='vm' generation='g'><spec>{}</spec><creating path='/i/a'/></manifest>"
    )
