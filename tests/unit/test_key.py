"""Keys: how objects are named to people, and what people may write for them."""

from __future__ import annotations

import pytest

from reconciler.core.key import Key, parse_key, show_key, spell_key
from reconciler.errors import UsageError

KINDS = ("Host", "VirtualMachine")
WEB, HOST, BOTH_VM, BOTH_HOST = (
    Key("VirtualMachine", "web01"),
    Key("Host", "kvm01"),
    Key("VirtualMachine", "both"),
    Key("Host", "both"),
)
KNOWN = frozenset({WEB, HOST, BOTH_VM, BOTH_HOST, Key("VirtualMachine", "host/odd")})


def test_keys_are_shown_and_sorted_by_kind_and_name() -> None:
    assert str(WEB) == "VirtualMachine/web01"
    assert (show_key(HOST), show_key(WEB)) == ("host/kvm01", "web01")
    assert sorted(KNOWN)[:2] == [BOTH_HOST, HOST]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("web01", WEB),
        ("kvm01", HOST),
        ("host/both", BOTH_HOST),
        ("VIRTUALMACHINE/both", BOTH_VM),
        ("host/new", Key("Host", "new")),
        ("new", Key("VirtualMachine", "new")),
        ("a/b", Key("VirtualMachine", "a/b")),
        ("host/", Key("VirtualMachine", "host/")),
        ("host/odd", Key("VirtualMachine", "host/odd")),
    ],
)
def test_what_a_person_writes_is_one_key(text: str, key: Key) -> None:
    assert parse_key(text, KNOWN, KINDS) == key


@pytest.mark.parametrize("key", sorted({WEB, HOST, BOTH_VM, BOTH_HOST}))
def test_a_key_is_read_as_it_is_shown(key: Key) -> None:
    assert parse_key(spell_key(key), KNOWN, KINDS) == parse_key(str(key), KNOWN, KINDS) == key
    assert parse_key(show_key(key), {key}, KINDS) == key


def test_a_name_that_two_kinds_use_is_asked_about() -> None:
    words = "both: several objects have this name; write host/both or virtualmachine/both"
    with pytest.raises(UsageError, match=words):
        parse_key("both", KNOWN, KINDS)
