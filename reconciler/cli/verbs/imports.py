"""`import inspect`: the manifest of a machine of another hypervisor's, to be reviewed."""

from __future__ import annotations

import argparse
import os

from reconciler.cli.console import Console, Exit
from reconciler.cli.services import Services
from reconciler.core.imports import DISK, OVA, VMX, ForeignSource, Importer, VerifyImport
from reconciler.core.render.words import escape
from reconciler.core.yaml_text import write_documents
from reconciler.kinds.machine.import_proposal import propose_machine

_STEP = 10  # percent between two lines of progress


def inspect_file(options: argparse.Namespace, console: Console, services: Services) -> int:
    """Print the manifest; progress and notes go to standard error."""
    path = os.path.abspath(options.file)
    kind = {".ova": OVA, ".vmx": VMX}.get(os.path.splitext(path)[1].lower(), DISK)
    importer = services.find_importer()
    source = importer.inspect(f"{kind}:{options.image_format or ''}:{path}")
    follow = _Follower(console)
    sha256 = _digest(kind, source, importer, follow)
    system = source.machine.os or _guess(source, importer, follow)
    manifest, remarks = propose_machine(
        kind, source, sha256=sha256, os=system, image_format=options.image_format or ""
    )
    console.write(write_documents([(manifest, remarks)]))
    console.note(f"{escape(path)}: review the manifest, then: virt-reconciler plan FILE")
    return Exit.DONE


def _digest(kind: str, source: ForeignSource, importer: Importer, follow: _Follower) -> str:
    """Verify what comes with the file, and return its own checksum where that says something."""
    if source.checks:
        importer.verify(VerifyImport(kind, source.stamp, ""), follow.tell)
    others = {stamp.path for image in source.images for stamp in image.stamps} - {source.stamp.path}
    return "" if others else importer.digest(source.stamp, follow.tell)


def _guess(source: ForeignSource, importer: Importer, follow: _Follower) -> str:
    return importer.guess_system(source.images[0], follow.tell) if source.images else ""


class _Follower:
    """Shows what takes long, in whole tenths."""

    def __init__(self, console: Console) -> None:
        self._console, self._shown = console, ""

    def tell(self, what: str, done: int, total: int) -> None:
        """Show it if it is news."""
        percent = 100 * done // total // _STEP * _STEP if total > 0 else 0
        line = f"{what}: {percent} %" if total > 0 else what
        if line != self._shown:
            self._shown = line
            self._console.note(escape(line))
