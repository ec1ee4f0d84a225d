"""`plan`: what is passed on, and how output depends on where it goes."""

from __future__ import annotations

import json

import pytest

from reconciler.cli.formats import PLAN_FORMATS
from reconciler.core.plan import ActionKind, Change, Effect, SetAutostart

from .fakes import FakeParts, action, call, plan_of

LIVE = plan_of(
    action(
        "vm1",
        ActionKind.UPDATE,
        changes=(Change("link", "up", "down", Effect.LIVE),),
        steps=(SetAutostart(enabled=True),),
    ),
    action("vm2", ActionKind.NONE),
)
FAILED = plan_of(
    *(action(f"vm{i}", ActionKind.FAILED, reason="no pool") for i in range(7)),
    action("vm9", ActionKind.NONE),
)


def test_json_goes_to_standard_output_with_the_revision() -> None:
    document = json.loads(call(FakeParts(planned=LIVE), "plan", "p", "--format", "json").out)
    assert document["revision"] == "0123456789abcdef"
    assert [one["name"] for one in document["resources"]] == ["vm1", "vm2"]


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        pytest.param("text", "kvm01 (", "Plan: 0 to create, 1 to change (", id="text"),
        pytest.param("markdown", "<!-- virt-reconciler plan -->", "</details>", id="markdown"),
        pytest.param("html", "<!DOCTYPE html>", "</html>", id="html"),
        pytest.param("json", "{", "}", id="json"),
    ],
)
def test_each_format_is_written(name: str, first: str, last: str) -> None:
    result = call(FakeParts(planned=LIVE), "plan", "p", "--format", name)
    lines = result.out.splitlines()
    assert (result.status, result.err) == (0, "")
    assert lines[0].startswith(first)
    assert lines[-1].startswith(last)
    assert result.out.endswith("\n")


@pytest.mark.parametrize("name", ["markdown", "html", "json"])
def test_formats_that_are_kept_tell_the_revision(name: str) -> None:
    assert "0123456789ab" in call(FakeParts(planned=LIVE), "plan", "p", "--format", name).out


def test_every_format_of_the_table_can_be_chosen() -> None:
    assert list(PLAN_FORMATS) == ["text", "markdown", "html", "json"]
    for name in PLAN_FORMATS:
        assert call(FakeParts(planned=LIVE), "plan", "p", "--format", name).status == 0


def test_other_verbs_have_text_and_json_alone() -> None:
    assert "choose from" in call(FakeParts(), "status", "--format", "markdown").err


def test_text_does_not_ask_git() -> None:
    parts = FakeParts(planned=LIVE)
    call(parts, "plan", "p")
    assert parts.options[0].revision is None


@pytest.mark.parametrize(
    ("terminal", "environ", "coloured"),
    [
        pytest.param(True, {}, True, id="terminal"),
        pytest.param(False, {}, False, id="pipe"),
        pytest.param(True, {"NO_COLOR": "1"}, False, id="NO_COLOR"),
        pytest.param(True, {"NO_COLOR": ""}, True, id="empty-NO_COLOR-counts-as-unset"),
        pytest.param(True, {"TERM": "dumb"}, False, id="dumb-terminal"),
    ],
)
def test_colour_only_where_it_is_wanted(
    terminal: bool, environ: dict[str, str], coloured: bool
) -> None:
    result = call(FakeParts(planned=LIVE), "plan", "p", terminal=terminal, environ=environ)
    assert ("\033[" in result.out) is coloured


def test_verbose_lists_unchanged_objects() -> None:
    assert "= vm2: unchanged" in call(FakeParts(planned=LIVE), "plan", "p", "-v").out
    assert "vm2" not in call(FakeParts(planned=LIVE), "plan", "p").out


def test_adopt_options_are_passed_on_and_swallow_no_path() -> None:
    parts = FakeParts(planned=LIVE)
    call(parts, "plan", "--adopt", "p")
    call(parts, "plan", "--adopt-only", "a", "--adopt-only", "b", "p")
    assert (parts.options[0].adopt_all, parts.options[0].adopt) == (True, frozenset())
    assert (parts.options[1].adopt_all, parts.options[1].adopt) == (False, frozenset("ab"))


def test_what_could_not_be_planned_is_told_on_standard_error() -> None:
    result = call(FakeParts(planned=FAILED), "plan", "p")
    assert result.err == (
        "virt-reconciler: error: 7 of 8 could not be planned: vm0, vm1, vm2, vm3, vm4 and 2 more\n"
    )
    assert "! vm6: cannot be planned: no pool" in result.out
