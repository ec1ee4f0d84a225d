"""Hold exported manifests against validation, and take out of them what it refuses."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from reconciler.cli.parts import Parts
from reconciler.core.export_faults import take_out
from reconciler.core.files import ManifestFile
from reconciler.core.world import Reading
from reconciler.core.yaml_text import write_documents
from reconciler.errors import Problem

Refused = List[Tuple[str, str]]


@dataclass(frozen=True)
class Exported:
    """A manifest of a domain, and what it does not say."""

    reading: Reading
    manifest: Dict[str, Any]
    remarks: Tuple[str, ...]

    @property
    def name(self) -> str:
        """The domain's name."""
        return self.reading.view.name

    @property
    def file(self) -> ManifestFile:
        """The manifest as a file; its name is what problems of other manifests call it."""
        text = write_documents([(self.manifest, ())])
        return ManifestFile(f"domain {self.name}", text.encode())


def make_valid(exported: Sequence[Exported], parts: Parts) -> Tuple[List[Exported], Refused]:
    """Return the manifests so that all of them are valid together, and those that never are.

    Every round takes something out, so there is an end.
    """
    valid = {one.file.name: one for one in exported}
    refused: Refused = []
    while True:
        problems = _find_first(parts.load_files([one.file for one in valid.values()]).problems)
        if not problems:
            return list(valid.values()), refused
        for file, problem in problems.items():
            less = _lessen(valid[file], problem)
            if less is None:
                refused.append((valid.pop(file).name, f"{problem.path}: {problem.message}"))
            else:
                valid[file] = less


def _find_first(problems: Sequence[Problem]) -> Mapping[str, Problem]:
    """Return one problem of each manifest: what it leads to may be what the next is about."""
    return {one.file: one for one in sorted(problems, reverse=True)}


def _lessen(exported: Exported, problem: Problem) -> Optional[Exported]:
    less = take_out(exported.manifest, problem, exported.reading.persistent)
    if less is None:
        return None
    return replace(exported, manifest=less.manifest, remarks=(*exported.remarks, less.remark))
