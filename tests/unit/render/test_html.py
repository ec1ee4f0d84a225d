"""The plan as a page, as a browser reads it."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Callable, Dict, List, Optional, Tuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.core.plan import Effect, Plan
from reconciler.core.render.html import STYLE, Markup, render_html, tag
from reconciler.core.render.words import last_line, summarise

from .plans import BREAKING, CREATE, DELETE, PLANS, RESTART, SAME, UPDATE, plan_of

Golden = Callable[[Path, str], None]
GOLDEN = Path(__file__).parent / "golden"
VOID = {"meta"}
ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "section", "ul", "li",
    "details", "summary", "table", "thead", "tbody", "tr", "th", "td", "code", "strong", "span",
    "pre", "ins", "del",
}  # fmt: skip
ATTRIBUTES = {"charset", "http-equiv", "content", "name", "lang", "class", "scope", "open"}

Attributes = List[Tuple[str, Optional[str]]]


class Page(HTMLParser):
    """Reads a page and complains about what is not well-formed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: List[str] = []
        self.attributes: List[Dict[str, str]] = []
        self.elements: List[str] = []
        self.texts: Dict[str, List[str]] = {}
        self.declarations: List[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_decl(self, decl: str) -> None:
        self.declarations.append(decl)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data}")

    def handle_starttag(self, tag: str, attrs: Attributes) -> None:
        self.elements.append(tag)
        self.attributes.append({name: value or "" for name, value in attrs})
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def text(self, element: str) -> str:
        return "".join(self.texts.get(element, []))


@pytest.mark.parametrize("name", ["delete", "everything", "fragments", "markup"])
def test_plan_reads_as_its_golden_file(name: str, golden: Golden) -> None:
    golden(GOLDEN / f"{name}.html", render_html(PLANS[name]))


@pytest.mark.parametrize("name", sorted(PLANS))
def test_page_is_well_formed_and_needs_nothing_else(name: str) -> None:
    page = Page(render_html(PLANS[name]))
    assert page.declarations == ["DOCTYPE html"]
    assert page.elements[:3] == ["html", "head", "meta"]
    assert set(page.elements) <= ELEMENTS
    assert {one for each in page.attributes for one in each} <= ATTRIBUTES
    assert page.elements.count("summary") == page.elements.count("details")
    assert "url(" not in STYLE
    assert "@import" not in STYLE


def test_a_browser_may_use_this_style_and_nothing_else() -> None:
    text = render_html(PLANS["everything"])
    (style,) = re.findall("<style>(.*)</style>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = re.findall('Content-Security-Policy" content="([^"]*)"', text)
    assert policy.split("; ")[:2] == ["default-src 'none'", f"style-src 'sha256-{digest}'"]


def test_style_is_for_light_and_dark_and_paper() -> None:
    assert "prefers-color-scheme: dark" in STYLE
    assert "@media print" in STYLE
    assert all(f".{one.value}" in STYLE for one in Effect)


def test_frozen_line_stands_there() -> None:
    for plan in PLANS.values():
        assert f'<p class="sum">{last_line(summarise(plan))}</p>' in render_html(plan)


def test_what_disturbs_a_guest_and_what_is_deleted_stands_above_the_details() -> None:
    text = render_html(plan_of(CREATE, RESTART, DELETE, UPDATE))
    top, _, below = text.partition("<details")
    assert "⚠ Disturbs 1 running guest<" in top
    assert "⚠ Deletes 1 machine, 1 volume<" in top
    assert "disks[root]: default/retired-root.qcow2, 60GiB → (none)" in top
    assert "disks[data].size: 100GiB → 50GiB" in top
    assert "vm006-win2016" in below
    assert "vm006-win2016" not in top


def test_every_change_has_its_effect_as_a_word() -> None:
    text = render_html(PLANS["everything"]).partition("<h2>In detail</h2>")[2]
    words = re.findall(r'<span class="effect ([\w-]+)">([\w-]+)</span>', text)
    assert len(words) == sum(len(action.changes) for action in PLANS["everything"].actions)
    assert all(class_ == word for class_, word in words)


def test_every_object_that_changes_is_open_and_unchanged_ones_are_folded() -> None:
    page = Page(render_html(plan_of(CREATE, UPDATE, SAME)))
    folds = [one for name, one in zip(page.elements, page.attributes) if name == "details"]
    assert ["open" in fold for fold in folds] == [True, True, False]
    assert "1 object unchanged" in page.text("summary")


def test_texts_of_others_are_texts() -> None:
    page = Page(render_html(PLANS["markup"]))
    assert f"x{BREAKING}" in page.text("strong")
    assert f"y{BREAKING}" in page.text("strong")
    assert "+</details>\n" in page.text("ins")
    assert set(page.elements) <= ELEMENTS


def test_no_secret_is_printed() -> None:
    for name in ("hostile", "fragments"):
        assert "hunter" not in render_html(PLANS[name])


@given(st.text(), st.text())
def test_any_text_comes_back_from_an_element_and_an_attribute(text: str, value: str) -> None:
    shown = tag("p", text, Markup("<code>a</code>"), class_=value)
    assert shown.count("<") == 4
    assert shown.count('"') == (2 if value else 0)
    page = Page(shown.replace("\r", ""))
    assert page.text("code") == "a"
    assert page.text("p") == text.replace("\r", "")


def test_the_revision_is_told_and_the_order_of_actions_is_the_plans() -> None:
    plan = replace(PLANS["everything"], revision="0123456789abcdef")
    assert ", manifests at 0123456789ab</p>" in render_html(plan)
    assert render_html(Plan(plan.host, plan.uri, plan.actions, plan.revision)) == render_html(plan)
