"""`status` from the daemon's memory: text for people at two widths, JSON for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Mapping

import pytest

from reconciler.core.overview import Overview
from reconciler.core.records import SourceRecord
from reconciler.core.render.json import render_overview_json
from reconciler.core.render.status import render_overview
from reconciler.core.render.text import Page, Style
from tests.conftest import Golden

from .overviews import GUESTS, HOSTILE, MIXED, NOW, TROUBLED, WELL

FOLDER = Path(__file__).parent / "golden"
OVERVIEWS = {"well": WELL, "mixed": MIXED, "troubled": TROUBLED, "hostile": HOSTILE}


def show(
    overview: Overview,
    width: int = 0,
    *,
    full: bool = False,
    colour: bool = False,
    verbose: bool = False,
) -> str:
    chosen = list(overview.entries.values())
    page = Page(Style(colour), width)
    return render_overview(overview, chosen, page, NOW, full=full, verbose=verbose)


def resources(overview: Overview) -> Mapping[str, Any]:
    document = json.loads(render_overview_json(overview, list(overview.entries.values())))
    return {one["name"]: one for one in document["resources"]}


@pytest.mark.parametrize("width", [80, 160])
@pytest.mark.parametrize("name", OVERVIEWS)
def test_text(golden: Golden, name: str, width: int) -> None:
    golden(FOLDER / f"status-{name}-{width}.txt", show(OVERVIEWS[name], width))


def test_text_in_full(golden: Golden) -> None:
    golden(FOLDER / "status-full-80.txt", show(TROUBLED, 80, full=True))


def test_text_in_colour(golden: Golden) -> None:
    golden(FOLDER / "status-colour.txt", show(MIXED, 80, colour=True))


@pytest.mark.parametrize("name", ["mixed", "troubled"])
def test_json(golden: Golden, name: str) -> None:
    overview = OVERVIEWS[name]
    text = render_overview_json(overview, list(overview.entries.values()))
    golden(FOLDER / f"status-{name}.json", text)


@pytest.mark.parametrize("width", [80, 100, 160])
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("name", OVERVIEWS)
def test_no_line_is_wider_than_the_terminal(name: str, full: bool, width: int) -> None:
    lines = show(OVERVIEWS[name], width, full=full).splitlines()
    assert [line for line in lines if len(line) > width] == []


def test_every_problem_is_shown_where_that_is_asked_for() -> None:
    assert "and 2 more (-v shows all)" in show(TROUBLED, full=True)
    assert "more (-v" not in show(TROUBLED, verbose=True)
    assert "vms/win.yaml:18:9" in show(TROUBLED, verbose=True)


def test_files_outside_of_git_are_known_by_their_digest() -> None:
    source = SourceRecord(identity=f"sha256:{'0123456789abcdef' * 4}", since=NOW - 60)
    first = show(Overview({}, source, 812)).splitlines()[1].strip()
    assert first == "Manifests: 0123456789ab (a digest of the files), in force for 60s"


def test_without_a_terminal_each_thing_is_on_a_line_of_its_own() -> None:
    lines = show(TROUBLED).splitlines()
    assert sum("would be deleted (a, b)" in line for line in lines) == 1
    assert any(line.endswith("confirms with `virt-reconciler prune`") for line in lines)


@pytest.mark.parametrize("full", [False, True])
def test_nothing_that_a_terminal_obeys_gets_through(full: bool) -> None:
    text = show(HOSTILE, 80, full=full)
    assert [one for one in text.replace("\n", "") if not one.isprintable()] == []


def test_what_is_well_is_on_the_table_alone() -> None:
    below = show(MIXED, 80).split("\n\n", 2)[2]
    assert "web01" not in below
    assert "web02" in below  # its restart has fields to name


def test_the_same_thing_is_said_once() -> None:
    text = show(MIXED, 0)
    assert text.count("no pool 'fast'") == 1
    assert text.count("no space left") == 1


def test_a_suspended_machine_is_never_ready() -> None:
    mail = resources(MIXED)["mail"]
    assert mail["status"] == "Suspended"
    words = {one["type"]: one["status"] for one in mail["conditions"]}
    assert (words["Ready"], words["Suspended"]) == ("Unknown", "True")
    assert mail["suspended"] == {
        "since": "2027-01-12T07:46:40Z",
        "by": "alice",
        "reason": "waits for the new disk shelf",
    }
    row = next(line for line in show(MIXED, 80).splitlines() if line.startswith("mail "))
    assert "Suspended" in row
    assert "Ready" not in row


def test_the_inside_of_guests_in_text(golden: Golden) -> None:
    golden(FOLDER / "status-guests-80.txt", show(GUESTS, 80, full=True))


def test_the_inside_of_guests_in_json(golden: Golden) -> None:
    text = render_overview_json(GUESTS, list(GUESTS.entries.values()))
    golden(FOLDER / "status-guests.json", text)


def test_a_guest_that_is_not_ready_is_named_without_asking_once_a_boot_is_over() -> None:
    text = show(GUESTS, 160)
    assert "In the guest: cloud-init failed: ('package_update', no network)" in text
    assert text.count("\ndb02") == 1, "only its row: it boots"


def test_json_keeps_the_keys_that_were_there_before() -> None:
    for one in resources(MIXED).values():
        assert {"kind", "name", "state", "observedGeneration", "conditions"} <= one.keys()


def test_a_daemon_that_does_not_run_is_said_first() -> None:
    first = show(TROUBLED, 160).splitlines()[0].strip()
    assert first == "Daemon: not running; this is how it was 3h ago (--live asks libvirt itself)"
