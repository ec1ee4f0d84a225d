"""Which kinds and fields there are, and what is wrong in a document, by path. Pure."""

from __future__ import annotations

from typing import Any, FrozenSet, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

from reconciler.core.frozen import frozen
from reconciler.core.manifest import Manifest

DocumentPath = Tuple[Union[str, int], ...]


@frozen
class Finding:
    """One thing that is wrong in one document. `at_key`: the key itself is, not its value."""

    path: DocumentPath
    message: str
    at_key: bool = False


@frozen
class Clash:
    """Two objects that cannot both be; `one` and `other` are their numbers among all documents.

    `message` is about `one` and ends so that the place of `other` can follow; `advice` comes last.
    """

    one: int
    path: DocumentPath
    message: str
    other: int
    other_path: DocumentPath
    advice: str = ""


READING, WRITING = "reading", "writing"  # how something may be shared


@frozen
class Claim:
    """Something that only one may have. Two meet if they can be on one host (None is any).

    `shared` says how several may have it: all of them reading, or all of them writing knowingly.
    `is_raw` is true of an image that may be raw, so that several could write to it.
    """

    number: int
    path: DocumentPath
    key: Tuple[str, ...]
    host: Optional[str] = None
    shared: str = ""
    is_raw: bool = False

    def meets(self, other: Claim) -> bool:
        """Whether not both can be granted."""
        if self.shared and self.shared == other.shared:
            return False
        return self.host == other.host or self.host is None or other.host is None


@frozen
class Together:
    """All documents, by number. `names` also has those that are invalid: (kind, name) of each."""

    names: Mapping[int, Tuple[str, str]]
    manifests: Mapping[int, Manifest]
    invalid: FrozenSet[int] = frozenset()


def format_path(path: DocumentPath) -> str:
    """Return like `spec.disks[1].bus`."""
    parts = [f"[{one}]" if isinstance(one, int) else f".{one}" for one in path]
    return "".join(parts).lstrip(".")


API_VERSION = "virt-reconciler/v1"
MOST_SHOWN = 40  # characters of a wrong value
CONFIGURATION = "Configuration"  # the daemon's own, which is no manifest
DOCUMENTS = ("Plan", "Snapshot")  # what we write, and nobody else

# Promised by the format, not built yet.
_LATER_KINDS = frozenset({"Network", "StoragePool"})
_LATER_FIELDS: Mapping[Tuple[str, DocumentPath], str] = {
    ("VirtualMachine", ("spec", "cloudInit")): "prepare the template's image instead",
}


def find_kind(data: Any, kinds: Sequence[str]) -> Tuple[Optional[str], List[Finding]]:
    """Return which schema a document is held against, or None and what is wrong with its head."""
    if not isinstance(data, dict):
        what = "a list" if isinstance(data, list) else "a single value"
        return None, [
            Finding((), f"a manifest must be a mapping of apiVersion, kind, …, not {what}")
        ]
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        return None, [_refuse_kind(data, kind, kinds)]
    return kind, []


def _refuse_kind(data: Mapping[str, Any], kind: Any, kinds: Sequence[str]) -> Finding:
    if "kind" not in data:
        return Finding((), f"kind is missing: write one of {', '.join(kinds)}")
    if isinstance(kind, str) and kind in _LATER_KINDS:
        return Finding(("kind",), f"{kind} is not supported by this version yet")
    if kind == CONFIGURATION:
        message = "this is the daemon's configuration, not a manifest; move it out of this folder"
        return Finding(("kind",), message)
    hint = suggest(kind, kinds)
    shown = repr(kind)
    shown = shown if len(shown) <= MOST_SHOWN else f"{shown[:MOST_SHOWN]}…"
    return Finding(("kind",), f"{shown} is not one of {', '.join(kinds)}{hint}")


def refuse_field(kind: str, path: DocumentPath, known: Iterable[str]) -> Finding:
    """Say what is wrong with a field that the schema does not know."""
    advice = _LATER_FIELDS.get((kind, path))
    if advice is not None:
        return Finding(path, f"not supported by this version yet; {advice}", at_key=True)
    hint = suggest(path[-1], known) or f"; there are {', '.join(sorted(known))}"
    return Finding(path, f"unknown field{hint}", at_key=True)


def suggest(word: object, known: Iterable[str]) -> str:
    """Return `; did you mean …?`, or nothing when no known word is near."""
    folded = {one.lower(): one for one in known}
    import difflib  # noqa: PLC0415 - start-up time

    near = difflib.get_close_matches(str(word).lower(), list(folded), n=1)
    return f"; did you mean {folded[near[0]]}?" if near else ""
