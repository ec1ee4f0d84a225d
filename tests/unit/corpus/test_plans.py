"""The plan for every recorded host, as `plan --against` prints it, is the one that was reviewed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from reconciler.cli import main
from reconciler.core.render.json import render_json
from reconciler.core.render.text import Style, render_text
from tests.conftest import Golden
from tests.unit.corpus.worlds import CORPUS, RecordedWorld, list_worlds, read_world
from tests.unit.memory_host import MemoryHost

WORLDS = list_worlds()
DELETIONS = [name for name in WORLDS if read_world(name).gone]


class PlanPrinter:
    """Runs `plan --against` for a world, outside of Git: a plan names the commit that it is at."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Copy manifests into the folder."""
        self._folder = folder
        self._capsys = capsys

    def print(self, world: RecordedWorld, form: str) -> str:
        """Return what the command prints."""
        manifests = self._folder / "manifests"
        shutil.copytree(world.folder / "manifests", manifests, dirs_exist_ok=True)
        host = str(world.folder / "host.json")
        self._capsys.readouterr()
        main(["plan", "--format", form, "--against", host, *world.arguments, str(manifests)])
        return self._capsys.readouterr().out


@pytest.fixture
def printer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> PlanPrinter:
    """Return one."""
    return PlanPrinter(tmp_path, capsys)


@pytest.mark.parametrize("name", WORLDS)
def test_plan_is_the_reviewed_one(name: str, golden: Golden, printer: PlanPrinter) -> None:
    world = read_world(name)
    golden(world.folder / "plan.txt", printer.print(world, "text"))
    golden(world.folder / "plan.json", printer.print(world, "json"))


@pytest.mark.parametrize("name", DELETIONS)
def test_plan_of_a_deletion_is_the_reviewed_one(name: str, golden: Golden) -> None:
    world = read_world(name)
    plan = world.plan_deletions(MemoryHost(world.snapshot))
    golden(world.folder / "deletions.txt", render_text(plan, Style()))
    golden(world.folder / "deletions.json", render_json(plan))


@pytest.mark.parametrize("name", WORLDS)
def test_host_in_memory_is_planned_like_the_recorded_one(name: str, printer: PlanPrinter) -> None:
    world = read_world(name)
    recorded = json.loads(printer.print(world, "json"))
    in_memory = json.loads(render_json(world.plan(MemoryHost(world.snapshot))))
    assert in_memory["resources"] == recorded["resources"]


def test_every_world_is_recorded() -> None:
    prepared = {path.parent.name for path in CORPUS.glob("*/prepare")}
    assert prepared == set(WORLDS)
    assert len(WORLDS) >= 25
