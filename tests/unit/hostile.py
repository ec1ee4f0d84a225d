"""Makes odd things out of sound ones: manifests, domain XML and the files of our own. No test is here.

Everything is drawn from a `random.Random`, so a seed says what was made.
"""

from __future__ import annotations

import copy
import json
import random
import signal
from contextlib import contextmanager
from typing import Any, Iterator, List, Tuple, cast

from lxml import etree

# YAML as it is written, of what no field expects.
SCALARS = (
    "", "~", "true", "-1", "0", "1.0", "1.5", "1e30", "1e400", "-.inf", ".nan", "0x" + "f" * 20, "0o777",
    "9" * 30, "9" * 31, "9" * 5000, "0x" + "f" * 5000, "-" + "9" * 4301, "2026-03-01", "12:30:45", "'" + "9" * 4301 + "GiB'",
    "'" + "9" * 4301 + "'", "'1GB'", "'0GiB'", "999999999999TiB", "'\u0661GiB'", "[]", "{}", "[[[[]]]]", "{a: {b: {}}}",
    '"\\ud800"', '"\\0"', '"\\u202e"', '"\\x85"', '"\\n"', '" "', '"\U0001f600"', "!!binary aGk=", "!!set {a}", "!!str 5",
    "!x y", "&a [*a]", "*nowhere", "&b {c: [1]}", "'" + "x" * 70_000 + "'", "'" + "/a" * 30_000 + "'", "/", "'../x'", "..",
    "'/domain/devices/disk[a:b/@c=''d'']'", "'/domain/@'", "'/domain/devices/disk[@a=''x'" + "' and @b=''y'']'",
    "'<a>'", "'<a:b/>'", "'<a xmlns=\"x y\"/>'", "'" + "<a>" * 300 + "'", "'<a b=\"&#99999999999;\"/>'", "'<!DOCTYPE a><a/>'",
    "<<", "=", "'constructor'", "__class__", "'%s'", "'{0}'",
)  # fmt: skip
# Text of an attribute or element of XML.
TEXTS = (
    "", " ", "-1", "0", "1", "0x10", "010", "1.5", "nan", "inf", "9" * 30, "9" * 4301, "-" + "9" * 4301, "\u00b2", "\u0661",
    "x" * 70_000, "/", "//", "../..", "a/../b", "\n", "\t", "\u2028", "\U0001f600", "yes", "no", "on", "vda", "vd1", "sd" * 9,
    "zz:zz", "52:54:00:00:00:00", "ua-", "ua-root", "qemu:///system", "<a/>", "&amp;", "[1]", "{", "}", "%s", "null", "KiB", "bytes", "pc-q35-7.2",
)  # fmt: skip
NOTES = (
    "<n xmlns='inventory'>x</n>",
    "<n:a xmlns:n='un raid'><n:b/></n:a>",
    "<a xmlns=''/>",
    "<!-- <!DOCTYPE x> -->",
    "<?pi x?>",
    "<v:machine xmlns:v='urn:virt-reconciler:domain:1'/>",
    "<v:machine xmlns:v='urn:virt-reconciler:domain:1'><v:spec>{</v:spec></v:machine>",
    "<v:machine xmlns:v='urn:virt-reconciler:domain:1'><v:spec>[1]</v:spec></v:machine>",
    "<a>" * 150 + "</a>" * 150,
)


@contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Fail instead of waiting for an hour."""

    def stop(*_: object) -> None:
        raise AssertionError(f"still busy after {seconds} s")

    former = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, former)


def draw_from(seed: int) -> random.Random:
    """Return what a seed has drawn by."""
    return random.Random(seed)  # noqa: S311 - nothing secret is made


def places(data: Any) -> Iterator[Tuple[Any, Any]]:
    """Yield (container, key) of every value in plain data."""
    pairs: List[Tuple[Any, Any]] = []
    if isinstance(data, dict):
        pairs = list(data.items())
    elif isinstance(data, list):
        pairs = list(enumerate(data))
    for key, value in pairs:
        yield data, key
        yield from places(value)


def spoil_manifest(document: Any, chance: random.Random) -> bytes:
    """Return a document as YAML with a few of its values exchanged, removed or added."""
    data = copy.deepcopy(document)
    raw: List[str] = []
    for _ in range(chance.randint(1, 4)):
        container, key = chance.choice([*places(data)])
        raw.append(chance.choice(SCALARS))
        mark = f"@@{len(raw) - 1}@@"
        deed = chance.random()
        if deed < 0.7:
            container[key] = mark
        elif deed < 0.8:
            del container[key]
        elif isinstance(container, dict):
            container[chance.choice(("x", "xml", "disks", "size", "a b", "1", "<<", "y" * 300))] = (
                mark
            )
        else:
            container.append(copy.deepcopy(container[key]) if deed < 0.9 else mark)
    text = json.dumps(data, ensure_ascii=False)
    for number, one in enumerate(raw):
        text = text.replace(f'"@@{number}@@"', f" {one} ", 1)
    return text.encode("utf-8", "surrogatepass")


def spoil_xml(text: str, chance: random.Random) -> str:
    """Return domain XML with a few attributes, texts and elements exchanged, removed or doubled."""
    root = etree.fromstring(text)
    for _ in range(chance.randint(1, 5)):
        nodes = [element for element in root.iter() if isinstance(element.tag, str)]
        node = chance.choice(nodes)
        deed = chance.random()
        if deed < 0.45 and node.attrib:
            name = chance.choice(sorted(node.attrib))
            node.set(name, chance.choice(TEXTS))
        elif deed < 0.65 and not len(node):
            node.text = chance.choice(TEXTS)
        elif deed < 0.75 and node.attrib:
            del node.attrib[chance.choice(sorted(node.attrib))]
        elif deed < 0.85 and node.getparent() is not None:
            cast(Any, node.getparent()).remove(node)
        elif deed < 0.93 and node is not root:
            chance.choice(nodes).append(copy.deepcopy(node))
        else:
            _add_note(root, chance)
    return etree.tostring(root, encoding="unicode")


def _add_note(root: Any, chance: random.Random) -> None:
    metadata = root.find("metadata")
    if metadata is None:
        metadata = etree.SubElement(root, "metadata")
    parser = etree.XMLParser(recover=True)
    note = etree.fromstring(f"<m>{chance.choice(NOTES)}</m>", parser)
    for child in list(note):
        metadata.append(child)


def spoil_json(data: Any, chance: random.Random) -> str:
    """Return a document of ours with a few values exchanged, or its text damaged."""
    made = copy.deepcopy(data)
    for _ in range(chance.randint(1, 3)):
        container, key = chance.choice([*places(made)])
        container[key] = chance.choice(
            (None, True, -1, 0, 1.5, 1e308, float("inf"), float("nan"), 10**4000, "", "x", "\ud800", [], {}, [[]], {"": 0})
        )  # fmt: skip
    text = json.dumps(made)
    deed = chance.random()
    if deed < 0.1:
        text = text[: chance.randrange(len(text))]
    elif deed < 0.2:
        text = text.replace("1", "9" * 5000, 1)
    elif deed < 0.25:
        text = "[" * 100_000
    return text
