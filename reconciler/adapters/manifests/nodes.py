"""YAML nodes to plain data, and the position of a path among nodes.

Takes nodes as PyYAML composes them, by their attributes, without importing it. Refuses what YAML
allows and a manifest must not have; each refusal has a position, and does not stop the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Dict, List, Mapping, Optional, Set, Tuple

from reconciler.core.document.finding import Path
from reconciler.core.document.scalars import MERGE_KEY, is_key, resolve_plain

MOST_DEPTH = 64
MOST_EXPANDED = 10_000

# What a composer that resolves nothing says of a quoted scalar; a plain one has no tag at all.
QUOTED = "quoted"
_CORE = "tag:yaml.org,2002:"
_COLLECTIONS = {"mapping": "map", "sequence": "seq"}
_SCALARS: Mapping[str, Tuple[type, ...]] = {
    "null": (type(None),),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
    "str": (str,),
}
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

Position = Tuple[int, int]


@dataclass(frozen=True)
class Blot:
    """Something refused, and where; line and column count from 1."""

    line: int
    column: int
    message: str


class TooMuchError(Exception):
    """The document cannot be turned into data at all."""

    def __init__(self, blot: Blot) -> None:
        """Keep what is wrong."""
        self.blot = blot
        super().__init__(blot.message)


def position_of(mark: Any) -> Position:
    """Return line and column, counted from 1, of a PyYAML mark."""
    return mark.line + 1, mark.column + 1


def blot(node: Any, message: str) -> Blot:
    """Return a refusal of the node."""
    return Blot(*position_of(node.start_mark), message)


class Builder:
    """Builds the data of one file's documents; aliases are counted over the whole file."""

    def __init__(self) -> None:
        """Start with nothing expanded."""
        self.blots: List[Blot] = []
        self._seen: Set[int] = set()  # by id, which is sure only while the document's nodes live
        self._expanded = 0

    def start(self, root: Any) -> Any:
        """Return the data of a document's root; what is wrong with it is in `blots`."""
        self.blots, self._seen = [], set()
        return self.build(root)

    def build(self, node: Any, depth: int = 0) -> Any:
        """Return the plain data of a node. Raises TooMuchError for a bomb."""
        kind = node.id
        if kind == "scalar":
            return self._plain(node) if node.tag is None else self._tagged(node)
        self._bound(node, depth)
        if node.tag is not None and node.tag != _CORE + _COLLECTIONS[kind]:
            self._refuse_tag(node)
        if kind == "sequence":
            return [self.build(one, depth + 1) for one in node.value]
        return self._mapping(node, depth + 1)

    def _bound(self, node: Any, depth: int) -> None:
        """Refuse what is nested too deeply, and aliases that add up to too much."""
        if depth > MOST_DEPTH:
            message = f"nested more than {MOST_DEPTH} deep, or an alias inside its own anchor"
            raise TooMuchError(blot(node, message))
        if id(node) in self._seen:
            self._expanded += 1 + len(node.value)
            if self._expanded > MOST_EXPANDED:
                message = f"its aliases repeat more than {MOST_EXPANDED} values"
                raise TooMuchError(blot(node, message))
        self._seen.add(id(node))

    def _mapping(self, node: Any, depth: int) -> Dict[str, Any]:
        data: Dict[str, Any] = {}
        first: Dict[str, Any] = {}  # filled when it is needed: seldom
        for key_node, value_node in node.value:
            key = key_node.value
            if key_node.tag is not None or key_node.id != "scalar" or not is_key(key):
                key = self._key(key_node)
            if key in data:
                first = first or _first_keys(node)
                self._refuse_duplicate(first[key_node.value], key_node)
            data[key] = self.build(value_node, depth)
        return data

    def _refuse_duplicate(self, first: Any, again: Any) -> None:
        line, _ = position_of(first.start_mark)
        message = f"duplicate key {again.value!r}; it is also in line {line}"
        self.blots.append(blot(again, message))

    def _key(self, node: Any) -> str:
        if node.id != "scalar":
            self.blots.append(blot(node, "a key must be a plain word, not a list or mapping"))
            return ""
        key = self.build(node)
        if not isinstance(key, str):
            self.blots.append(blot(node, f"the key {node.value!r} is not a word; quote it"))
        elif key == MERGE_KEY and node.tag is None:
            message = "merge keys (<<) are not supported; write the fields out, or alias one value"
            self.blots.append(blot(node, message))
        return str(node.value)

    def _tagged(self, node: Any) -> Any:
        text, tag = node.value, node.tag
        if _UNPRINTABLE.search(text):
            self.blots.append(blot(node, "holds a control character"))
        if tag in (QUOTED, f"{_CORE}str"):
            return text
        value = self._plain(node)
        expected = _SCALARS.get(tag[len(_CORE) :]) if tag.startswith(_CORE) else None
        if expected is None or not isinstance(value, expected):
            self._refuse_tag(node)
        return value

    def _plain(self, node: Any) -> Any:
        try:
            return resolve_plain(node.value)
        except ValueError as error:
            self.blots.append(blot(node, str(error)))
            return node.value

    def _refuse_tag(self, node: Any) -> None:
        tag = node.tag.replace(_CORE, "!!", 1)
        self.blots.append(blot(node, f"the tag {tag} is not allowed here; write the plain value"))


def _first_keys(mapping: Any) -> Dict[Any, Any]:
    """Return the node of each key where it is first; what is no scalar cannot be looked up."""
    first: Dict[Any, Any] = {}
    for node, _ in mapping.value:
        if node.id == "scalar":
            first.setdefault(node.value, node)
    return first


def find_position(root: Any, path: Path, *, at_key: bool) -> Position:
    """Return where the path stands, or the nearest that is there on the way to it.

    A value that is empty stands nowhere a reader would look: its key is meant then.
    """
    key, node = None, root
    for step in path:
        found = _step(node, step)
        if found is None:
            at_key = False
            break
        key, node = found
    is_empty = node.id == "scalar" and node.value == "" and node.tag is None
    chosen = key if key is not None and (at_key or is_empty) else node
    return position_of(chosen.start_mark)


def _step(node: Any, step: object) -> Optional[Tuple[Any, Any]]:
    if isinstance(step, int):
        inside = node.id == "sequence" and step < len(node.value)
        return (None, node.value[step]) if inside else None
    if node.id != "mapping":
        return None
    # Of a duplicate key the last one counts, as it does in the data.
    pairs = [pair for pair in node.value if pair[0].value == step]
    return pairs[-1] if pairs else None
