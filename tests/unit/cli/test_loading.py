"""A command loads what it needs: most of the time of a short one is loading."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Set

import pytest

from reconciler.cli.arguments import build_parser, parse
from reconciler.errors import UsageError

ROOT = Path(__file__).parents[3]
MANIFEST = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {name: test}
spec: {cpus: 2}
"""
CODE = (
    "import sys; from reconciler.cli import main; main(sys.argv[1:]); "
    "sys.stderr.write('\\n' + ' '.join(sorted(sys.modules)))"
)
# All that `plan` and `validate` may load of the rooms besides the kinds and what lies below them.
FOR_A_PLAN = frozenset(
    f"reconciler.{name}"
    for name in (
        "adapters.clock", "adapters.manifests.documents", "adapters.manifests.files",
        "adapters.manifests.reader", "adapters.manifests.schema_errors",
        "adapters.libvirt.binding", "adapters.libvirt.capabilities",
        "adapters.libvirt.connections", "adapters.libvirt.domain_reader",
        "adapters.libvirt.domains", "adapters.libvirt.host", "adapters.libvirt.images",
        "adapters.libvirt.objects", "adapters.libvirt.own_view", "adapters.libvirt.pools",
        "adapters.libvirt.storage",
        "adapters.state.files", "adapters.state.object_locks",
        "core.render.text",
        "core.render.words",
    )
)  # fmt: skip
ROOMS = tuple(f"reconciler.{room}." for room in ("adapters", "control", "core.render"))
# Libraries that are for something else: an error in a manifest, the daemon, a child process.
NOT_FOR_A_PLAN = frozenset(
    {
        "concurrent", "difflib", "jsonschema", "locale", "subprocess", "systemd", "tempfile",
        "typing_extensions", "watchdog",
    }
)  # fmt: skip
NOT_FOR_CHECKING = NOT_FOR_A_PLAN | {"libvirt"}
# What an apply in no work tree runs no program for, and packs no archive.
NOT_FOR_AN_APPLY = NOT_FOR_A_PLAN | {"lzma", "random", "selectors", "shutil", "signal", "socket"}


def modules_of(folder: Path, *words: str) -> Set[str]:
    """Return what a command has loaded when it is done."""
    (folder / "vm.yaml").write_text(MANIFEST, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words, "vm.yaml"],
        cwd=folder, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(ROOT), "HOME": str(folder), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return set(done.stderr.splitlines()[-1].split())


def modules_with_code(modules: Set[str]) -> Set[str]:
    """Return our modules of those rooms, without packages that hold others only."""
    packages = {name.rpartition(".")[0] for name in modules}
    return {name for name in modules - packages if name.startswith(ROOMS)}


def test_a_plan_loads_what_a_plan_needs(tmp_path: Path) -> None:
    found = modules_of(tmp_path, "--connect", "test:///default", "plan")
    assert "reconciler.kinds.machine.planner" in found
    assert sorted(modules_with_code(found) - FOR_A_PLAN) == []
    assert sorted(name for name in found if name.split(".")[0] in NOT_FOR_A_PLAN) == []


def test_manifests_are_checked_without_loading_what_reads_a_host(tmp_path: Path) -> None:
    found = modules_of(tmp_path, "validate")
    assert "reconciler.adapters.manifests.reader" in found
    assert sorted(modules_with_code(found) - FOR_A_PLAN) == []
    assert sorted(name for name in found if name.split(".")[0] in NOT_FOR_CHECKING) == []
    assert not any(name.startswith("reconciler.adapters.libvirt") for name in found)


def test_an_apply_loads_nothing_that_runs_programs(tmp_path: Path) -> None:
    found = modules_of(tmp_path, "--connect", "test:///default", "apply", "--yes", "--adopt")
    assert list(tmp_path.glob(".local/state/**/history/**/last.json")) != [], "it was recorded"
    assert sorted(name for name in found if name.split(".")[0] in NOT_FOR_AN_APPLY) == []
    assert "reconciler.adapters.git.command" not in found


def test_a_verb_is_parsed_alone_and_a_mistake_by_all_verbs() -> None:
    words = ["--connect", "status", "plan", "--detailed-exitcode", "vms"]
    assert parse(words) == build_parser().parse_args(words)
    with pytest.raises(UsageError, match="choose from 'validate', 'plan'"):
        parse(["strat", "plan"])
