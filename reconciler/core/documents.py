"""Which kinds and fields there are, and what is found in and between documents. Pure."""

from __future__ import annotations

import copy
from functools import cached_property
from typing import (
    Any,
    Dict,
    FrozenSet,
    Iterable,
    List,
    Mapping,
    Optional,
    Sequence,
    Tuple,
    Union,
)

from reconciler.core.frozen import frozen
from reconciler.core.manifest import Desired, Manifest
from reconciler.core.secrets import find_plain_secrets


def prune(data: Any, findings: Iterable[Finding]) -> Any:
    """Return a copy without the fields that the findings are about.

    Positions in lists are kept: where an entry as a whole is refused, its list goes.
    """
    rest = copy.deepcopy(data)
    for finding in findings:
        _remove(rest, finding.path)
    return rest


def _remove(data: Any, path: DocumentPath) -> None:
    while path and isinstance(path[-1], int):
        path = path[:-1]
    try:
        for step in path[:-1]:
            data = data[step]
    except (KeyError, IndexError, TypeError):  # gone already, with a part around it
        return
    if path and isinstance(data, dict):
        data.pop(path[-1], None)


def drop_near(more: Iterable[Finding], findings: Iterable[Finding]) -> List[Finding]:
    """Return those of `more` that are about other fields, or other entries of lists."""
    taken: FrozenSet[DocumentPath] = frozenset(_neighbourhood(finding.path) for finding in findings)
    return [finding for finding in more if _neighbourhood(finding.path) not in taken]


def _neighbourhood(path: DocumentPath) -> DocumentPath:
    """Return the field of `spec`, and the entry if it is a list."""
    return path[:3] if len(path) > len(("spec", "field")) and isinstance(path[2], int) else path[:2]


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

    @cached_property
    def desired(self) -> Desired:
        """All that the valid ones describe."""
        return Desired.of(*self.manifests.values())

    @cached_property
    def numbers(self) -> Mapping[str, Mapping[str, int]]:
        """The number of each name, by kind; of two with one name that of the later one."""
        found: Dict[str, Dict[str, int]] = {}
        for number, (kind, name) in self.names.items():
            found.setdefault(kind, {})[name] = number
        return found


def format_path(path: DocumentPath) -> str:
    """Return like `spec.disks[1].bus`."""
    parts = [f"[{part}]" if isinstance(part, int) else f".{part}" for part in path]
    return "".join(parts).lstrip(".")


def refuse_plain_secrets(spec: Any) -> List[Finding]:
    """Say of each secret that is written in a manifest what to write instead."""
    return [_refuse_secret(("spec", *path), spec) for path in find_plain_secrets(spec)]


def _refuse_secret(path: DocumentPath, spec: Any) -> Finding:
    field = next((step for step in reversed(path) if isinstance(step, str)), "")
    file = "{secretRef: {file: /etc/virt-reconciler/secrets/NAME}}"
    is_display = field == "fragment" and "<graphics" in spec["xml"][path[2]][field]
    instead = f"graphicsPassword: {file} in place of it" if is_display else f"{field}: {file}"
    words = "contains a password or key, "
    if path[:2] == ("spec", "credentials"):
        words += "and everyone on the host can read credentials"
        return Finding(path, f"{words}; give it to the guest by cloudInit or ignition")
    if field == "fragment" and not is_display:
        words += "and libvirt shows such a fragment to everyone on the host; give it to the guest "
        words += "by cloudInit or ignition"
    else:
        words += f"which everyone who reads the manifest can see; write {instead}"
    return Finding(path, f"{words}. Or set allowPlainPasswords: true in the host's configuration")


API_VERSION = "virt-reconciler/v1"
MOST_SHOWN = 40  # characters of a wrong value
CONFIGURATION = "Configuration"  # the daemon's own, which is no manifest
DOCUMENTS = ("Plan", "Snapshot", "Measurement")  # what we write, and nobody else

# Promised by the format, not built yet.
_LATER_KINDS = frozenset({"Network", "StoragePool"})


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


def refuse_field(path: DocumentPath, known: Iterable[str]) -> Finding:
    """Say what is wrong with a field that the schema does not know."""
    hint = suggest(path[-1], known) or f"; there are {', '.join(sorted(known))}"
    return Finding(path, f"unknown field{hint}", at_key=True)


def suggest(word: object, known: Iterable[str]) -> str:
    """Return `; did you mean …?`, or nothing when no known word is near."""
    folded = {name.lower(): name for name in known}
    import difflib  # noqa: PLC0415 - start-up time

    near = difflib.get_close_matches(str(word).lower(), list(folded), n=1)
    return f"; did you mean {folded[near[0]]}?" if near else ""
