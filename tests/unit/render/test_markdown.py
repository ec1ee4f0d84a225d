"""The plan as a comment on a pull request, as GitHub's and GitLab's Markdown reads it."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from pathlib import Path
from typing import Callable, List, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.core.plan import Action, ActionKind, Change, Effect, Plan
from reconciler.core.render.markdown import (
    LIMIT,
    MARKER,
    code,
    code_in_html,
    fence,
    render_markdown,
)
from reconciler.core.render.words import last_line, summarise

from .plans import CREATE, DELETE, FAILED, FOREIGN, KIND, MARKUP, PLANS, RESTART, UPDATE, plan_of

Golden = Callable[[Path, str], None]
GOLDEN = Path(__file__).parent / "golden"
FEW = 6_000  # characters of a comment in which not all has room


def split_fences(text: str) -> Tuple[List[str], List[str]]:
    """Return the lines outside and inside of fenced code, as CommonMark (4.5) finds it."""
    outside: List[str] = []
    inside: List[str] = []
    ticks = 0
    for line in text.split("\n"):
        opening = re.fullmatch(r" {0,3}(`{3,})[^`]*", line)
        if ticks:
            closing = re.fullmatch(r" {0,3}(`+) *", line)
            if closing and len(closing[1]) >= ticks:
                ticks = 0
            else:
                inside.append(line)
        elif opening:
            ticks = len(opening[1])
        else:
            outside.append(line)
    assert ticks == 0, "a fence is never closed"
    return outside, inside


def without_code(line: str) -> str:
    """Return a line without code spans, as CommonMark (6.1) finds them."""
    if line.startswith("<"):  # a line of HTML, in which no Markdown is read
        return re.sub("<code>[^<]*</code>", "CODE", line)
    return re.sub(r"(?<!`)(`+)(?!`)(?:.*?[^`])\1(?!`)", "CODE", line)


def bare(text: str) -> str:
    """Return all that stands in no code."""
    return "\n".join(map(without_code, split_fences(text)[0]))


@pytest.mark.parametrize("name", sorted(PLANS))
def test_plan_reads_as_its_golden_file(name: str, golden: Golden) -> None:
    golden(GOLDEN / f"{name}.md", render_markdown(PLANS[name]))


@pytest.mark.parametrize("name", sorted(PLANS))
def test_marker_and_frozen_line_come_first(name: str) -> None:
    first, second, *_ = render_markdown(PLANS[name]).split("\n")
    assert first == MARKER == "<!-- virt-reconciler plan -->"
    assert second == f"**{last_line(summarise(PLANS[name]))}**"


@pytest.mark.parametrize("name", sorted(PLANS))
def test_lines_are_coloured_by_their_first_sign(name: str) -> None:
    for line in split_fences(render_markdown(PLANS[name]))[1]:
        assert re.match(r"[-+!#] |@@|  ", line), line


def test_what_disturbs_a_guest_and_what_is_deleted_stands_in_no_fold() -> None:
    text = render_markdown(plan_of(CREATE, RESTART, DELETE, UPDATE, FAILED))
    top, _, _ = text.partition("<details>")
    assert "**⚠ Disturbs 1 running guest:**\n\n- **`build`**" in top
    assert "  - **restart** `cpus.count: 2 → 4`" in top
    assert "**⚠ Deletes 1 machine, 1 volume:**\n\n- **`retired`**" in top
    assert "  - **destructive** `disks[root]: default/retired-root.qcow2, 60GiB → (none)`" in top
    assert "- **`broken`**: cannot be planned, `disks[root].source.template" in top
    assert "  - **withheld** `disks[data].size: 100GiB → 50GiB`: `a disk is never shrunk`" in top
    assert top.index("Disturbs") < top.index("Deletes") < top.index("Not done")


def test_unchanged_objects_are_only_counted() -> None:
    assert "steady" not in render_markdown(PLANS["everything"])


def test_nothing_of_others_stands_outside_of_code() -> None:
    text = render_markdown(PLANS["markup"])
    for word in ("octocat", "all", "#1", "/close", "](", "<!-- -->", "&lt;", "</code>", "|"):
        assert word not in bare(text).replace("not all of it", "")
    assert bare(text).count("<details>") == bare(text).count("</details>") == 1
    assert not [line for line in bare(text).split("\n") if line.startswith("/")]


def test_no_secret_is_printed() -> None:
    for name in ("hostile", "fragments"):
        assert "hunter" not in render_markdown(PLANS[name])


LINES = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), max_size=30)
TICKED = st.text("`~ \\<>&@x-", max_size=12)


@given(LINES | TICKED)
def test_code_holds_any_line(text: str) -> None:
    around = without_code(f"- a {code(text)} b")
    assert around == "- a CODE b"
    assert html.unescape(code_in_html(text)) == f"<code>{text}</code>"
    assert without_code(code_in_html(text)) == "CODE"


@given(st.lists(TICKED, max_size=6))
def test_a_fence_holds_any_lines(lines: List[str]) -> None:
    assert split_fences(f"a\n{fence(lines)}\nb") == (["a", "b"], "\n".join(lines).split("\n"))


def many(kind: str, number: int) -> Tuple[Action, ...]:
    """Return objects of a kind, by their numbers."""
    made = {"new": CREATE, "changed": UPDATE, "restarted": RESTART, "gone": DELETE, "bad": FAILED}
    return tuple(replace(made[kind], name=f"{kind}{i:04}") for i in range(number))


def length(text: str) -> int:
    return len(text.encode("utf-8"))


def test_a_comment_that_just_fits_is_not_cut() -> None:
    whole = render_markdown(PLANS["everything"])
    assert render_markdown(PLANS["everything"], length(whole)) == whole
    cut = render_markdown(PLANS["everything"], length(whole) - 1)
    assert "Not shown in detail" in cut
    assert length(cut) < length(whole)


def test_what_is_left_out_is_the_least_important_and_told() -> None:
    plan = plan_of(*many("new", 20), *many("changed", 2), *many("restarted", 2))
    text = render_markdown(plan, FEW)
    shown = re.findall(r"<b><code>(\w+)</code></b>", text)
    assert {"changed0000", "changed0001", "restarted0000", "restarted0001"} <= set(shown)
    assert shown == sorted(shown)
    left = [action.name for action in plan.actions if action.name not in shown]
    assert left
    assert text.endswith(
        f"\n\n**Not shown in detail, as a comment holds no more: {len(left)} objects:** "
        + ", ".join(f"`{one}`" for one in left)
        + ".\n"
    )


@pytest.mark.parametrize("numbers", [(1000, 0, 0), (0, 1000, 0), (700, 0, 10), (5, 500, 30)])
def test_a_thousand_objects_fit_with_the_top_in_full(numbers: Tuple[int, int, int]) -> None:
    new, changed, disturbed = numbers
    plan = plan_of(*many("new", new), *many("restarted", disturbed), *many("changed", changed))
    text = render_markdown(plan)
    assert LIMIT * 0.9 < length(text) <= LIMIT
    assert re.search(r"\*\*Not shown in detail.* objects:\*\*.* and \d+ more\.\n$", text)
    assert f"**⚠ Disturbs {disturbed} running guests:**" in text or not disturbed
    top = bare(text).partition("<details>")[0]
    assert len(re.findall(r"  - \*\*restart\*\*", top)) == disturbed


def test_a_top_that_is_too_long_says_how_many_more_there_are() -> None:
    plan = plan_of(*many("restarted", 1500), *many("gone", 1500), *many("bad", 1500))
    text = render_markdown(plan)
    assert length(text) <= LIMIT
    assert "**⚠ Disturbs 1500 running guests:**" in text
    assert "**⚠ Deletes 1500 machines, 1500 volumes:**" in text
    listed = len(re.findall(r"^- \*\*", text, re.MULTILINE))
    more = sum(map(int, re.findall(r"^- and (\d+) more, which `plan` shows$", text, re.MULTILINE)))
    assert listed + more == 4500
    assert listed > 500
    assert "Not shown in detail, as a comment holds no more: 3000 objects:" in text


def test_disturbed_guests_keep_their_details_longest() -> None:
    live = (Change("interfaces[lan].link", "up", "down", Effect.LIVE),)
    changed = (replace(one, changes=live) for one in many("changed", 60))
    text = render_markdown(plan_of(*changed, *many("restarted", 2)), FEW)
    shown = re.findall(r"<b><code>([a-z]+)\d+</code></b>", text)
    assert shown.count("restarted") == 2
    assert 0 < shown.count("changed") < 60


def test_what_is_not_ours_is_said_to_be_left_alone() -> None:
    foreign = replace(FOREIGN, changes=())
    assert "- **`legacy`**: `` not managed yet" in render_markdown(plan_of(foreign))


def test_letters_are_counted_as_bytes() -> None:
    change = Change("disks[a].serial", "é" * 300, "😀" * 300, Effect.LIVE)
    plan = plan_of(*(replace(UPDATE, name=f"v{i}", changes=(change,)) for i in range(100)))
    assert length(render_markdown(plan)) <= LIMIT


ACTIONS = st.sampled_from(
    (CREATE, UPDATE, RESTART, DELETE, FAILED, MARKUP, *PLANS["everything"].actions)
)


@settings(max_examples=60)
@given(st.lists(ACTIONS, max_size=40), st.integers(4_000, 30_000))
def test_no_comment_is_longer_than_its_limit_and_none_is_broken(
    actions: List[Action], limit: int
) -> None:
    numbered = (replace(action, name=f"{action.name} {i}") for i, action in enumerate(actions))
    plan = plan_of(*numbered)
    text = render_markdown(plan, limit)
    assert length(text) <= limit
    assert bare(text).count("<details>") == bare(text).count("</details>")
    assert "@" not in bare(text)
    turned = Plan(plan.host, plan.uri, plan.actions)
    assert render_markdown(turned, limit) == text


def test_another_kind_is_named_with_its_object() -> None:
    host = Action("Host", "kvm01", ActionKind.FAILED, reason="no")
    assert "- **`Host kvm01`**: cannot be planned, `no`" in render_markdown(plan_of(host))


def test_the_revision_is_told() -> None:
    plan = replace(PLANS["unchanged"], revision="0123456789abcdef")
    assert "manifests at `0123456789ab`\n" in render_markdown(plan)
    assert KIND not in render_markdown(plan)
