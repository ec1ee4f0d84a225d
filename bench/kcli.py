"""kcli: list the machines, and update a plan of them in which nothing differs."""

from __future__ import annotations

from typing import Tuple

from bench.fleet import Fleet
from bench.peer_tools import ENVIRONMENT, KCLI
from bench.timing import Contender

COUNT = 1000

CONFIGURATION = """\
default: {{client: lab}}
lab: {{type: kvm, url: "{uri}", pool: default}}
"""
MACHINE = """\
vm{number:04}:
  numcpus: 2
  memory: 2048
  disks: [10]
  nets: [default]
"""
LAST = f"vm{COUNT - 1:04}"


def contenders(fleet: Fleet) -> Tuple[Contender, ...]:
    """Return its nearest to a plan: what is there, and what would have to be changed."""
    folder = fleet.folder / ".kcli"
    folder.mkdir()
    (folder / "config.yml").write_text(CONFIGURATION.format(uri=fleet.host.uri()), "utf-8")
    plan = folder / "plan.yml"
    plan.write_text("".join(MACHINE.format(number=one) for one in range(COUNT)), "utf-8")
    words = {"list": ("list", "vm"), "update": ("update", "plan", "-f", str(plan), "bench")}
    return (
        _contender(fleet, f"`kcli list vm`, {COUNT:,} machines", words["list"], f"{LAST} |"),
        _contender(
            fleet, f"`kcli update plan`, {COUNT:,} machines", words["update"], f"{LAST} skipped"
        ),
    )


def _contender(fleet: Fleet, name: str, words: Tuple[str, ...], sign: str) -> Contender:
    path = f"{ENVIRONMENT / 'bin'}:/usr/sbin:/usr/bin:/sbin:/bin"
    environment = {"PATH": path, "HOME": str(fleet.folder), "LC_ALL": "C.UTF-8"}
    return Contender(name, (KCLI.path, *words), sign, environment=environment)
