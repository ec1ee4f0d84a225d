"""`plan`: what is passed on, and how output depends on where it goes."""

from __future__ import annotations

import json

import pytest

from reconciler.cli.console import PLAN_FORMATS
from reconciler.kinds.machine.domain.mark import drop_owner

from .fakes import FakeServices, applied, call, manifests


@pytest.fixture
def live() -> FakeServices:
    """Return a host on which one of two machines is to be changed."""
    services = applied(vm1={}, vm2={})
    services.files = manifests(vm1={"autostart": True}, vm2={})
    return services


def test_json_goes_to_standard_output_with_the_revision(live: FakeServices) -> None:
    document = json.loads(call(live, "plan", "p", "--format", "json").out)
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
def test_each_format_is_written(live: FakeServices, name: str, first: str, last: str) -> None:
    result = call(live, "plan", "p", "--format", name)
    lines = result.out.splitlines()
    assert (result.status, result.err) == (0, "")
    assert lines[0].startswith(first)
    assert lines[-1].startswith(last)
    assert result.out.endswith("\n")


@pytest.mark.parametrize("name", ["markdown", "html", "json"])
def test_formats_that_are_kept_tell_the_revision(live: FakeServices, name: str) -> None:
    assert "0123456789ab" in call(live, "plan", "p", "--format", name).out


def test_every_format_of_the_table_can_be_chosen(live: FakeServices) -> None:
    assert list(PLAN_FORMATS) == ["text", "markdown", "html", "json"]
    for name in PLAN_FORMATS:
        assert call(live, "plan", "p", "--format", name).status == 0


def test_other_verbs_have_text_and_json_alone() -> None:
    assert "choose from" in call(FakeServices(), "status", "--format", "markdown").err


def test_text_does_not_ask_git(live: FakeServices) -> None:
    live.revision = "f00d" * 10
    assert "f00d" not in call(live, "plan", "p").out


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
    live: FakeServices, terminal: bool, environ: dict[str, str], coloured: bool
) -> None:
    result = call(live, "plan", "p", terminal=terminal, environ=environ)
    assert ("\033[" in result.out) is coloured


def test_verbose_lists_unchanged_objects(live: FakeServices) -> None:
    assert "= vm2: unchanged" in call(live, "plan", "p", "-v").out
    assert "vm2" not in call(live, "plan", "p").out


def test_adopt_options_are_passed_on_and_swallow_no_path() -> None:
    services = applied(a={}, b={}, c={})
    for name in "abc":
        xml = services.host.views[name].persistent_xml
        services.host.change(name, persistent_xml=drop_owner(xml))

    def adopted(*words: str) -> str:
        found = json.loads(call(services, "plan", "--format", "json", *words, "p").out)
        return "".join(one["name"] for one in found["resources"] if one["changes"])

    assert adopted("--adopt") == "abc"
    assert adopted("--adopt-only", "a", "--adopt-only", "b") == "ab"
    assert adopted() == ""


def test_what_could_not_be_planned_is_told_on_standard_error() -> None:
    names = [f"vm{number}" for number in range(7)]
    disks = [{"name": "root", "size": "1GiB", "pool": "fast"}]
    services = FakeServices(manifests(**{name: {"disks": disks} for name in names}, vm9={}))
    result = call(services, "plan", "p")
    assert result.err == (
        "virt-reconciler: error: 7 of 8 could not be planned: vm0, vm1, vm2, vm3, vm4 and 2 more\n"
    )
    assert "! vm6: cannot be planned: " in result.out
