"""The steps that fill or change an image which no definition has yet, with programs of the host.

One that is stopped in the middle is made again, so nothing here is ever taken back.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Protocol, Type

from reconciler.control.ports import Clock, Host, Progress
from reconciler.core.imports import ConvertMachine, ImportDisk, Tell, VerifyImport
from reconciler.core.plan import CreateVolume, Step
from reconciler.core.preparation import PrepareVolume
from reconciler.core.transfers import CopyDisks


class ImageWork(Protocol):
    """What a step works with."""

    @property
    def host(self) -> Host:
        """The host."""

    @property
    def clock(self) -> Clock:
        """Time."""

    @property
    def progress(self) -> Progress:
        """Whom to tell."""


def _prepare_volume(work: ImageWork, step: PrepareVolume) -> None:
    follow = _follow(work)

    def tell(doing: str) -> None:
        words = f": {doing}" if doing else ""
        follow(f"{step.pool}/{step.name}: preparing{words}", 0, -1)

    read = work.host.secrets.read
    work.host.preparer.prepare(step.make_task(lambda ref: read(ref).text), tell)


def _follow(work: ImageWork) -> Tell:
    def tell(what: str, done: int, total: int) -> None:
        work.clock.sleep(0)  # Ctrl-C and the daemon's end may come here
        work.progress(what, done, total)

    return tell


def _verify_import(work: ImageWork, step: VerifyImport) -> None:
    work.host.importer.verify(step, _follow(work))


def _import_disk(work: ImageWork, step: ImportDisk) -> None:
    work.host.importer.copy(step.target, _follow(work))


def _convert_machine(work: ImageWork, step: ConvertMachine) -> None:
    work.host.importer.convert(step, _follow(work))


IMAGE_STEPS: Mapping[Type[Any], Callable[[ImageWork, Any], None]] = {
    PrepareVolume: _prepare_volume,
    VerifyImport: _verify_import,
    ImportDisk: _import_disk,
    ConvertMachine: _convert_machine,
}

# What libvirt makes a volume of without copying data: nothing, or another image's blocks.
_AT_ONCE = frozenset({"none", "linked", "reflink"})


def takes_long(step: Step) -> bool:
    """Whether a step copies the data of an image, or runs programs on one."""
    if isinstance(step, CreateVolume):
        return step.clone not in _AT_ONCE
    return isinstance(step, CopyDisks) or type(step) in IMAGE_STEPS
