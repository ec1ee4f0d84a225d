"""Strict YAML: what scalars mean, and what is refused, with its place."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any, List, Tuple

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from reconciler.adapters.manifests import documents
from reconciler.adapters.manifests.documents import FastComposer, PlainComposer, read_documents
from reconciler.core.documents import DocumentPath


@pytest.fixture(params=[FastComposer, PlainComposer], ids=["with libyaml", "without libyaml"])
def _either_parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the test with both of PyYAML's parsers."""
    monkeypatch.setattr(documents, "COMPOSER", request.param)


def read(text: str) -> Any:
    (document,), blots = read_documents(text.encode())
    assert not blots
    assert not document.blots
    return document.data


def refuse(content: bytes) -> List[Tuple[int, int, str]]:
    found, blots = read_documents(content)
    every = [*blots, *(blot for one in found for blot in one.blots)]
    return [(one.line, one.column, one.message) for one in every]


SCALARS = [
    ("true", True), ("False", False), ("TRUE", True), ("tRUE", "tRUE"),
    ("on", "on"), ("off", "off"), ("yes", "yes"), ("no", "no"), ("y", "y"),
    ("null", None), ("~", None), ("", None), ("Nil", "Nil"),
    ("12", 12), ("-3", -3), ("+3", 3), ("0o17", 15), ("0x1F", 31), ("017", 17), ("1_000", "1_000"),
    ("0b11", "0b11"), ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5), ("-.inf", -math.inf), (".", "."),
    ("02:00", "02:00"), ("1:30:00", "1:30:00"), ("2026-03-01", "2026-03-01"),
    ("4GiB", "4GiB"), ("12a", "12a"), ("=", "="), ("'true'", "true"), ('"12"', "12"),
    ("!!str 12", "12"), ("!!int 12", 12), ("!!float 12", 12), ("!!null ~", None), ("!!bool true", True),
]  # fmt: skip


@pytest.mark.usefixtures("_either_parser")
@pytest.mark.parametrize(("text", "value"), SCALARS, ids=[repr(one) for one, _ in SCALARS])
def test_a_scalar_means_what_yaml_1_2_says(text: str, value: Any) -> None:
    data = read(f"a: {text}\n")["a"]
    assert data == value
    assert type(data) is type(value)


def test_not_a_number_is_one() -> None:
    assert math.isnan(read("a: .nan")["a"])


REFUSED = [
    pytest.param(b"a: 1\nb: 2\na: 3\n", 3, 1, "duplicate key 'a'; it is also in line 1", id="duplicate key"),
    pytest.param(b"a:\n\tb: 1\n", 2, 1, "a tab cannot indent", id="tab"),
    pytest.param(b"a:\n  - b\n\t- c\n", 3, 1, "a tab cannot indent", id="tab before a dash"),
    pytest.param(b"ok: 1\nb: \xff\n", 2, 4, "not UTF-8: byte 0xff at offset 9; save the file as UTF-8", id="latin-1"),
    pytest.param("ä: ".encode() + b"\xe4", 1, 4, "not UTF-8: byte 0xe4 at offset 4", id="latin-1 after UTF-8"),
    pytest.param("a: 1".encode("utf-16"), 1, 1, "not UTF-8", id="UTF-16"),
    pytest.param(b"\x7fELF\x02\x01\x01\x00", 1, 1, "control character U+007F", id="a program"),
    pytest.param(b"a: \0\n", 1, 4, "control character U+0000", id="NUL"),
    pytest.param(b'a: "\\0"\n', 1, 4, "control character", id="an escaped NUL"),
    pytest.param(b"a: b: c\n", 1, 5, "not YAML: mapping values", id="two colons"),
    pytest.param(b"a: [1\n", 2, 1, "not YAML:", id="an open bracket"),
    pytest.param(b"a: *b\n", 1, 4, "undefined alias", id="an alias of nothing"),
    pytest.param(b"a: &x [*x]\n", 1, 4, "an alias inside its own anchor", id="an alias in its anchor"),
    pytest.param(b"a: &x {b: 1}\nc: {<<: *x}\n", 2, 5, "merge keys (<<)", id="a merge key"),
    pytest.param(b"1: a\n", 1, 1, "the key '1' is not a word; quote it", id="a number as key"),
    pytest.param(b"true: a\n", 1, 1, "the key 'true' is not a word", id="a boolean as key"),
    pytest.param(b"[a]: b\n", 1, 1, "a key must be a plain word", id="a list as key"),
    pytest.param(b"? {a: b}\n: c\n", 1, 3, "a key must be a plain word", id="a mapping as key"),
    pytest.param(b"a: !!python/name:os.system\n", 1, 4, "!!python/name:os.system is not allowed", id="Python"),
    pytest.param(b"a: !vault x\n", 1, 4, "the tag !vault is not allowed", id="a tag of one's own"),
    pytest.param(b"a: !!set {b}\n", 1, 4, "!!set is not allowed", id="a set"),
    pytest.param(b"a: !!int x\n", 1, 4, "!!int is not allowed", id="a word as number"),
    pytest.param(b"a: " + b"9" * 5000, 1, 4, "more than 30 digits", id="an absurd number"),
    pytest.param(b"[" * 200_000, 1, 65, "nested more than 64 deep", id="200 000 brackets"),
    pytest.param(b"- " * 200_000, 1, 129, "nested more than 64 deep", id="200 000 dashes"),
]  # fmt: skip


@pytest.mark.usefixtures("_either_parser")
@pytest.mark.parametrize(("content", "line", "column", "message"), REFUSED)
def test_refused_with_its_place(content: bytes, line: int, column: int, message: str) -> None:
    (found,) = refuse(content)
    assert message in found[2]
    assert "\n" not in found[2]
    if "mapping values" not in message:  # the two parsers differ by a column there
        assert found[:2] == (line, column)


ADVICE = [
    pytest.param("a:\n  - b: 1\n     c: 2\n", "wrong indentation, or a key without ': ': compare with line 2", id="deeper"),
    pytest.param("a:1\n\nb: 2\n", "wrong indentation, or a key without ': ': compare with line 1", id="no space"),
    pytest.param("x: 1\na:\n  b: 1\n c: 2\n", "wrong indentation: compare with line 1", id="between two levels"),
    pytest.param("a: b: c\n", "quote a text that contains ': '", id="two colons"),
    pytest.param("a: 'x\nb: 2\n", "close the quote of line 1", id="an open quote"),
    pytest.param("a: {b: 1\nc: 2\n", "close the bracket of line 1", id="an open bracket"),
    pytest.param("a: @x\n", "quote a text that begins with @", id="a reserved sign"),
    pytest.param("a: *.iso\n", "quote a text that begins with *", id="an asterisk"),
    pytest.param("a: *b\n", "quote a text that begins with *", id="an alias of nothing"),
    pytest.param("a: 1\nb\nc: 2\n", "write KEY: VALUE or '- VALUE' in line 2", id="no colon"),
    pytest.param("a: - b\n", "begin the list in a line of its own", id="a list behind its key"),
    pytest.param('a: "C:\\x"\n', "put a text with backslashes into single quotes", id="a backslash"),
    pytest.param('a: "x" y\n', "put the whole text into quotes", id="text after a quote"),
    pytest.param("a: 1\n...\nb: 2\n", "begin the next document with a line ---", id="text after the end"),
    pytest.param("a: }\n", "put the text into quotes", id="a closing bracket"),
]  # fmt: skip


@pytest.mark.usefixtures("_either_parser")
@pytest.mark.parametrize(("text", "advice"), ADVICE)
def test_a_syntax_error_ends_with_what_to_do(text: str, advice: str) -> None:
    (found,) = refuse(text.encode())
    assert found[2].startswith("not YAML: ")
    assert advice in found[2]


def _bomb(levels: int) -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines).encode()


@pytest.mark.usefixtures("_either_parser")
def test_a_bomb_is_refused_before_it_explodes() -> None:
    (found,) = refuse(_bomb(20))
    assert "repeat more than 10000 values" in found[2]


def test_an_alias_saves_writing() -> None:
    text = "a: &lan {network: default}\nb: [*lan, *lan]"
    assert read(text)["b"] == [{"network": "default"}] * 2


def test_aliases_in_many_documents_are_not_a_bomb() -> None:
    text = "---\n" + "---\n".join("a: &x [1, 2]\nb: *x\n" for _ in range(2000))
    found, blots = read_documents(text.encode())
    assert (len(found), blots) == (2000, [])


def test_aliases_of_all_documents_count_together() -> None:
    text = "---\n".join(f"a: &x [{'1, ' * 90}]\nb: [{'*x, ' * 60}]\n" for _ in range(3))
    assert "aliases repeat" in refuse(text.encode())[0][2]


def test_everything_wrong_in_a_file_is_told_at_once() -> None:
    assert len(refuse(b"a: 1\na: 2\n1: 3\n---\nb: !x y\n")) == 3


def test_documents_without_content_are_left_out() -> None:
    found, blots = read_documents(b"---\n# nothing\n---\na: 1\n---\n~\n")
    assert [(one.data, one.line) for one in found] == [({"a": 1}, 4)]
    assert not blots


def test_a_byte_order_mark_is_no_content() -> None:
    assert read("\ufeffa: 1") == {"a": 1}


@pytest.mark.parametrize(
    ("path", "at_key", "place"),
    [
        pytest.param(("spec", "cpus"), False, (2, 9), id="a value"),
        pytest.param(("spec", "cpus"), True, (2, 3), id="a key"),
        pytest.param(("spec", "disks", 1, "bus"), False, (5, 13), id="in a list"),
        pytest.param(("spec", "disks", 1, "nope"), False, (5, 7), id="missing: what is around it"),
        pytest.param(("spec", "disks", 7), False, (4, 5), id="missing entry: its list"),
        pytest.param(("spec", "empty"), False, (6, 3), id="an empty value: its key"),
        pytest.param((), False, (1, 1), id="the document"),
    ],
)
def test_a_path_has_a_place(path: DocumentPath, at_key: bool, place: Tuple[int, int]) -> None:
    text = "spec:\n  cpus: 4\n  disks:\n    - {name: a}\n    - {bus: x}\n  empty:\n"
    (document,), _ = read_documents(text.encode())
    assert document.locate(path, at_key=at_key) == place


# Without what YAML has no place for, or breaks lines at.
TEXT = st.text(st.characters(exclude_categories=("Cc", "Cn", "Cs", "Zl", "Zp")), max_size=10)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(-1e20, 1e20) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(TEXT, JSON, min_size=1))
def test_json_is_read_as_it_is(data: Any) -> None:
    assert read(json.dumps(data, ensure_ascii=False)) == data


@given(
    st.binary(max_size=200)
    | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace"))
)
def test_any_bytes_are_read_or_refused_in_one_line(content: bytes) -> None:
    for line, _, message in refuse(content):
        assert message.isprintable()
        assert line <= sum(content.count(one.encode()) for one in "\n\r\x85\u2028\u2029") + 2


# Without the lone tag `!`, which libyaml takes for text and PyYAML for nothing.
@given(st.text("ab:-[]{},&*|>'\"#%?\n \t01.~<", max_size=60))
def test_both_parsers_agree(text: str) -> None:
    try:
        fast, plain = (_trees(one, text) for one in (FastComposer, PlainComposer))
    except yaml.YAMLError:
        return  # they differ in which odd texts they refuse
    assert fast == plain


def _trees(composer: Any, text: str) -> List[Any]:
    loader = composer(text)
    trees = []
    while loader.check_node():
        trees.append(_tree(loader.get_node()))
    return trees


def _tree(node: Any) -> Any:
    if isinstance(node.value, str):
        return (node.tag, node.value)
    pairs = [two if isinstance(two, tuple) else (two,) for two in node.value]
    return [node.tag, *(tuple(map(_tree, pair)) for pair in pairs)]


def test_manifests_are_read_where_pyyaml_was_built_without_libyaml() -> None:
    script = (
        "import sys; sys.modules['yaml.cyaml'] = None\n"
        "from reconciler.adapters.manifests.documents import read_documents\n"
        "print(read_documents(b'a: 1')[0][0].data)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "{'a': 1}\n"
