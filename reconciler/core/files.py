"""Manifest files as values: a name and bytes, and one consistent set of them. Pure.

Knows which names are a manifest's, and nothing of what is in the files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Tuple

from reconciler.errors import Problem, RefusedError

SUFFIXES = (".yaml", ".yml")
MOST_BYTES = 2**20
MOST_TOTAL = 16 * 2**20  # bytes of all manifests together: some 10,000 machines
TOO_MUCH = f"all manifests together are larger than {MOST_TOTAL // 2**20} MiB"
TOO_LARGE = "is larger than 1 MiB; a manifest file never is: split it up"


@dataclass(frozen=True)
class ManifestFile:
    """A file; `name` is what a person calls it in messages."""

    name: str
    content: bytes


@dataclass(frozen=True)
class FileSet:
    """All manifest files as they were at one moment.

    `identity` is equal for equal content, `revision` is the Git commit, None outside of Git.
    `problems` are of files that could not be read. `where` says to a person where all this is.
    """

    identity: str
    where: str
    files: Tuple[ManifestFile, ...]
    problems: Tuple[Problem, ...] = ()
    revision: Optional[str] = None


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name belongs to an editor, or to Git."""
    return name.startswith(".")


def is_manifest(name: str) -> bool:
    """Whether a file of this name is a manifest file; editors' backups and drafts are not."""
    return not is_hidden(name) and name.endswith(SUFFIXES)


def show_name(name: str) -> str:
    """Return a file's name as text that can be printed, whatever bytes it has."""
    return name.encode("utf-8", "backslashreplace").decode()


def check_not_empty(found: FileSet) -> FileSet:
    """Return the set as it is. Raises RefusedError if there is nothing at all in it."""
    if not found.files and not found.problems:
        raise refuse_empty(found.where)
    return found


def check_total(size: int, where: str) -> None:
    """Raise RefusedError if so many bytes of manifests are not read."""
    if size > MOST_TOTAL:
        raise RefusedError(
            f"{where}: {TOO_MUCH}, so none is read and what was in force stays; "
            "have each host follow a folder of its own (spec.source.git.path)"
        )


def refuse_empty(where: str) -> RefusedError:
    """Return the error that says that nothing is concluded from finding nothing."""
    return RefusedError(
        f"there are no manifests in {where}: nothing is concluded from that, and what was in force "
        "stays; check the path"
    )
