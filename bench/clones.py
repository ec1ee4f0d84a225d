"""One clone of a template, from nothing to a defined machine, beside libvirt's and QEMU's own."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Iterator, List

from bench.cloning import DISK, XFS, Cloning, fill, prepare
from bench.product import apply
from bench.timing import Contender, Goal, Race, clean, race
from tests.lab.host import LabHost

FLOOR = str(Path(__file__).with_name("clone_floor.py"))
FULL_ROUNDS, ROUNDS = 7, 9
FULL, QUICK = Goal("ratio", 1.02), Goal("difference", 0.15)
CREATED = "Applied: 1 created"


def measure(folder: Path) -> Iterator[Race]:
    """Measure on a host that has nothing but the templates."""
    host = prepare(folder)
    with host:
        fill(host)
        yield _full(Cloning(host, "full", "default", "qcow2"))
        yield _linked(Cloning(host, "linked", "default", "qcow2"))
        yield _reflink(
            Cloning(host, "reflink", "xfs", "raw"), Cloning(host, "reflink", "xfs", "qcow2")
        )


def _full(cloning: Cloning) -> Race:
    # The very call that libvirt makes for its own clone of a qcow2 into a qcow2.
    convert = ("qemu-img", "convert", "-f", "qcow2", "-O", "qcow2", "-o", "compat=1.1")
    files = (str(cloning.template), str(cloning.image))
    contenders = [
        Contender("`qemu-img convert`", (*convert, *files), undo=cloning.unlink),
        _product(cloning, FULL),
    ]
    title = f"Full clone of {DISK:,} MiB of data, qcow2"
    if shutil.which("virt-clone") is None:
        notes = ("`virt-clone` is not installed (Debian's virtinst), so there is no row of it.",)
        return replace(race(title, contenders, FULL_ROUNDS), notes=notes)
    return race(title, [*contenders, _virt_clone(cloning)], FULL_ROUNDS)


def _virt_clone(cloning: Cloning) -> Contender:
    _define_original(cloning)
    command = ["virt-clone", "--quiet", "--connect", cloning.host.uri(), "--original", "original"]
    command += ["--name", "clone", "--file", str(cloning.image)]
    return Contender("`virt-clone`", command, undo=cloning.forget)


def _define_original(cloning: Cloning) -> None:
    """Define a machine that has the template itself as its disk, as virt-clone needs it."""
    text = cloning.definition().read_text("utf-8").replace(str(cloning.image), "TEMPLATE")
    lines = [line for line in text.splitlines() if "<uuid>" not in line and "<mac " not in line]
    path = cloning.host.folder / "original.xml"
    text = "\n".join(lines).replace("TEMPLATE", str(cloning.template))
    path.write_text(text.replace("<name>clone</name>", "<name>original</name>"), "utf-8")
    cloning.host.virsh("define", str(path))


def _linked(cloning: Cloning) -> Race:
    create = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2"]
    create += ["-b", str(cloning.template), str(cloning.image)]
    contenders = [
        _own(cloning),
        Contender("`qemu-img create -b`, the image alone", create, undo=cloning.unlink),
        _product(cloning, QUICK),
    ]
    return race("Linked clone to a defined machine", contenders, ROUNDS)


def _reflink(raw: Cloning, qcow2: Cloning) -> Race:
    copy = ("cp", "--reflink=always", str(qcow2.template), str(qcow2.image))
    contenders = [
        _own(raw),
        Contender("`cp --reflink=always`, the image alone", copy, undo=qcow2.unlink),
        *(replace(_product(one, QUICK), name=_of(one)) for one in (raw, qcow2)),
    ]
    return race(f"Reflink clone of {XFS} MiB to a defined machine, XFS", contenders, ROUNDS)


def _own(cloning: Cloning) -> Contender:
    host: LabHost = cloning.host
    words: List[str] = [sys.executable, FLOOR, host.uri(), cloning.pool, cloning.volume]
    words += [str(cloning.template), cloning.clone, str(cloning.definition())]
    name = "libvirt's own: make the volume, define"
    return Contender(name, words, "clone", undo=cloning.forget)


def _product(cloning: Cloning, goal: Goal) -> Contender:
    command, state = apply(cloning.host.uri(), cloning.manifests()), cloning.host.folder / "state"

    def forget() -> None:
        """Undo the clone and its history, or the next one would be a machine that comes back."""
        cloning.forget()
        shutil.rmtree(state)

    environment = {**clean(), "XDG_STATE_HOME": str(state)}
    return Contender("`virt-reconciler apply`", command, CREATED, forget, goal, environment)


def _of(cloning: Cloning) -> str:
    return f"`virt-reconciler apply`, {cloning.format}"
