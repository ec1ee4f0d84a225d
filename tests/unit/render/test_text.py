"""The text plan, as a tired reviewer sees it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Callable

import pytest

from reconciler.core.plan import Change, Effect, Plan
from reconciler.core.render.text import Style, render_text

from .plans import PLANS, SAME, UPDATE, plan_of

Golden = Callable[[Path, str], None]
GOLDEN = Path(__file__).parent / "golden"
LAST_LINE = re.compile(
    r"Plan: \d+ to create, \d+ to change \(\d+ next-boot, \d+ restart\), "
    r"\d+ to delete \(\d+ volumes\), \d+ unchanged, \d+ withheld\.\n"
)


@pytest.mark.parametrize("name", sorted(PLANS))
def test_plan_reads_as_its_golden_file(name: str, golden: Golden) -> None:
    golden(GOLDEN / f"{name}.txt", render_text(PLANS[name], Style()))


def test_verbose_lists_unchanged_objects_too(golden: Golden) -> None:
    text = render_text(PLANS["everything"], Style(), verbose=True)
    golden(GOLDEN / "everything-verbose.txt", text)


def test_colour_only_wraps_what_is_there_without_it(golden: Golden) -> None:
    coloured = render_text(PLANS["everything"], Style(colour=True))
    golden(GOLDEN / "everything-colour.txt", coloured)
    plain = re.sub("\033\\[[0-9;]*m", "", coloured)
    assert plain == render_text(PLANS["everything"], Style())


def test_ascii_fallback_has_no_sign_beyond_ascii() -> None:
    text = render_text(PLANS["everything"], Style(unicode=False))
    assert text.isascii()
    assert "disks[root].bus: sata -> virtio" in text


@pytest.mark.parametrize("name", sorted(PLANS))
def test_last_line_has_the_frozen_form(name: str) -> None:
    assert LAST_LINE.fullmatch(render_text(PLANS[name], Style()).splitlines(keepends=True)[-1])


def test_every_change_has_its_effect_word_in_one_column() -> None:
    words = {one.value for one in Effect}
    lines = [
        line
        for line in render_text(PLANS["everything"], Style()).splitlines()
        if re.match(r"    [-+~!] ", line)
    ]
    changes = sum(len(action.changes) for action in PLANS["everything"].actions)
    assert len(lines) == changes
    assert all(line[6:].split()[0] in words for line in lines)
    assert len({re.match(r"    . \S+ +", line).end() for line in lines}) == 1  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["hostile", "markup"])
def test_nothing_that_a_terminal_obeys_comes_from_a_domain(name: str) -> None:
    text = render_text(PLANS[name], Style())
    assert all(character.isprintable() or character == "\n" for character in text)


def test_what_is_made_anew_as_it_was_has_no_arrow() -> None:
    change = Change("volume", "/x.qcow2", "/x.qcow2", Effect.OFFLINE, "is made anew")
    text = render_text(plan_of(replace(UPDATE, changes=(change,))), Style())
    assert "    ~ offline  volume: /x.qcow2  # is made anew\n" in text


@pytest.mark.parametrize("name", ["hostile", "fragments"])
def test_no_secret_is_printed(name: str) -> None:
    assert "hunter" not in render_text(PLANS[name], Style())


def test_a_change_of_a_secret_alone_is_a_change() -> None:
    text = render_text(PLANS["fragments"], Style())
    assert "xml[/domain/devices/graphics/@passwd]: (hidden) → (hidden, other)\n" in text


def test_revision_stands_in_the_title_where_it_is_known() -> None:
    plan = Plan("kvm01", "qemu:///system", (SAME,), "0123456789abcdef0123")
    first = render_text(plan, Style()).splitlines()[0]
    assert first == "kvm01 (qemu:///system), manifests at 0123456789ab"


def test_same_plan_gives_the_same_text() -> None:
    assert render_text(plan_of(UPDATE, SAME), Style()) == render_text(
        plan_of(SAME, UPDATE), Style()
    )
