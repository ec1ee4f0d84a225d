"""Values of several lines, as a reviewer compares them."""

from __future__ import annotations

from typing import Tuple

import pytest

from reconciler.core.plan import Value
from reconciler.core.render.text import unify


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        pytest.param(None, "a\nb", ("+a", "+b"), id="new"),
        pytest.param("a\nb", None, ("-a", "-b"), id="gone"),
        pytest.param("a\nb\nc", "a\nX\nc", ("@@ -1,3 +1,3 @@", " a", "-b", "+X", " c"), id="changed"),
        pytest.param("a", "a\nb", ("@@ -1 +1,2 @@", " a", "+b"), id="one-line-becomes-two"),
        pytest.param("a", "b", (), id="one-line-each"),
        pytest.param(None, 4, (), id="a-number"),
        pytest.param(None, "<a>\n  <b/>\n</a>", ("+<a>", "+  <b/>", "+</a>"), id="xml"),
        pytest.param(None, "<a><b/></a>", ("+<a>", "+  <b/>", "+</a>"), id="xml-on-one-line"),
        pytest.param(None, "<a\n  b='c'/>", (), id="one-element"),
        pytest.param("<a><b/></a>", "<a>\n<b/></a>", ("@@ -1 +1,2 @@", "-<a><b/></a>", "+<a>", "+<b/></a>"), id="only-the-layout"),
        pytest.param(None, "<a>\n<b>", ("+<a>", "+<b>"), id="no-xml"),
        pytest.param("a\n", "a", ("@@ -1,2 +1 @@", " a", "-"), id="the-last-newline"),
        pytest.param("a\nb\n", "a\n", ("@@ -1,2 +1 @@", " a", "-b"), id="a-newline-ends-a-line"),
        pytest.param(None, "\ta\n b", ("+\\ta", "+ b"), id="tabs-are-shown-and-spaces-kept"),
        pytest.param(None, "a\r\n\x1b[2J\u2028\u202e", ("+a\\r", "+\\x1b[2J\\u2028\\u202e"), id="what-cannot-be-seen"),
    ],
)  # fmt: skip
def test_lines_that_differ_are_told(old: Value, new: Value, lines: Tuple[str, ...]) -> None:
    assert unify(old, new).lines == lines


def test_lines_far_from_a_change_are_left_out() -> None:
    old = "\n".join(map(str, range(100)))
    diff = unify(old, old.replace("50", "x"))
    assert diff.lines == (
        "@@ -48,7 +48,7 @@",
        " 47",
        " 48",
        " 49",
        "-50",
        "+x",
        " 51",
        " 52",
        " 53",
    )
    assert (diff.before, diff.after) == (100, 100)


def test_namespaces_stay_what_they_are() -> None:
    xml = "<q:a xmlns:q='http://x'><q:b v='1'/></q:a>"
    assert unify(None, xml).lines == ("+<q:a xmlns:q='http://x'>", "+  <q:b v='1'/>", "+</q:a>")
