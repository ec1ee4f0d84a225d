"""Many creations with a disk each: one after the other, and several at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Iterator

from bench.fleet import MANIFEST, Fleet
from bench.product import apply
from bench.timing import Contender, Race, race
from tests.lab.host import LabHost

COUNT, ROUNDS = 100, 3
LANES = (1, 4)


def measure(fleet: Fleet) -> Iterator[Race]:
    """Measure on a host of its own, which has no other machine."""
    folder = fleet.folder / "new"
    folder.mkdir(parents=True)
    for number in range(COUNT):
        name = f"new{number:03}"
        (folder / f"{name}.yaml").write_text(MANIFEST.format(name=name), "utf-8")
    with LabHost(fleet.folder / "parallel", kvm=False) as host:
        contenders = [_apply(host, folder, lanes) for lanes in LANES]
        yield race(f"{COUNT} creations with a disk each", contenders, ROUNDS)


def _apply(host: LabHost, folder: Path, lanes: int) -> Contender:
    command = (*apply(host.uri(), folder), "--parallel", str(lanes))
    name = f"`virt-reconciler apply --parallel {lanes}`"

    def forget() -> None:
        """Remove all that was made."""
        for machine in host.virsh("list", "--all", "--name").stdout.split():
            host.virsh("undefine", machine, "--nvram")
        for volume in host.virsh("vol-list", "default").stdout.split()[4::2]:
            host.virsh("vol-delete", volume, "default")

    return Contender(name, command, f"Applied: {COUNT} created", forget)
