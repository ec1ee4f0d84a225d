"""What is wrong in a document, by path; the file, line and column are added by the reader."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Tuple, Union

Path = Tuple[Union[str, int], ...]


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong in one document. `at_key`: the key itself is, not its value."""

    path: Path
    message: str
    at_key: bool = False


@dataclass(frozen=True)
class Clash:
    """Two objects that cannot both be; `one` and `other` are their numbers among all documents.

    `message` is about `one` and ends so that the place of `other` can follow; `advice` comes last.
    """

    one: int
    path: Path
    message: str
    other: int
    other_path: Path
    advice: str = ""


def format_path(path: Path) -> str:
    """Return like `spec.disks[1].bus`."""
    parts = [f"[{one}]" if isinstance(one, int) else f".{one}" for one in path]
    return "".join(parts).lstrip(".")
