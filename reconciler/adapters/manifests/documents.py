"""Strict YAML to documents: the only importer of yaml. Knows nothing of manifests.

A document is composed to nodes, by libyaml where PyYAML has it, and turned into data in one pass.
Positions are looked up only when something is wrong, by composing once more.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Iterator, List, Optional, Tuple, Type

from yaml.composer import Composer
from yaml.error import MarkedYAMLError, YAMLError
from yaml.nodes import ScalarNode
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner

from reconciler.adapters.manifests.nodes import (
    MOST_DEPTH,
    QUOTED,
    Blot,
    Builder,
    Position,
    TooMuchError,
    blot,
    find_position,
    position_of,
)
from reconciler.core.document.finding import Path

# What YAML allows in a stream; PyYAML's own message names the character and not its place.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A scanner reads up to 1024 characters ahead of what it hands over, to find out what is a key.
_AHEAD = 2048
_OPENING = re.compile(r"[\[{]")


class _Rules:
    """Resolve no tags, and stop at a depth where a recursive parser would lose its stack."""

    depth = 0

    def resolve(self, kind: Type[Any], _value: Any, implicit: Any) -> Optional[str]:
        """Return no tag, save that a scalar is quoted."""
        return QUOTED if kind is ScalarNode and not implicit[0] else None

    def descend_resolver(self, parent: Any, _index: Any) -> None:
        """Count one level down."""
        self.depth += 1
        if self.depth > MOST_DEPTH + 1:
            raise TooMuchError(blot(parent, f"nested more than {MOST_DEPTH} deep"))

    def ascend_resolver(self) -> None:
        """Count one level up."""
        self.depth -= 1


class PlainComposer(_Rules, Reader, Scanner, Parser, Composer):
    """PyYAML in Python, for where it was built without libyaml."""

    def __init__(self, text: str) -> None:
        """Set up each part, as PyYAML's own loaders do."""
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)


try:
    from yaml.cyaml import CParser  # type: ignore[attr-defined,unused-ignore]

    class FastComposer(_Rules, CParser):
        """libyaml."""

    COMPOSER: Any = FastComposer
except ImportError:
    COMPOSER = PlainComposer


@dataclass(frozen=True)
class Document:
    """One document of a file as plain data; `blots` are what is wrong with it as YAML."""

    line: int
    column: int
    data: Any
    index: int
    text: str = field(repr=False)
    blots: Tuple[Blot, ...] = ()

    def locate(self, path: Path, *, at_key: bool = False) -> Position:
        """Return line and column of a path in the file."""
        return find_position(_compose_all(self.text)[self.index], path, at_key=at_key)


def read_documents(content: bytes) -> Tuple[List[Document], List[Blot]]:
    """Return the documents of a file, or no document and why the file cannot be read.

    Empty documents are left out. A syntax error says nothing certain of the rest of its file, so
    none of it is used.
    """
    text, blots = _decode(content)
    if text is None:
        return [], blots
    try:
        return list(_read(text)), []
    except TooMuchError as error:
        return [], [error.blot]
    except YAMLError as error:
        return [], [_explain(error, text)]


def _decode(content: bytes) -> Tuple[Optional[str], List[Blot]]:
    try:
        text = content[
            len(_BYTE_ORDER_MARK) if content.startswith(_BYTE_ORDER_MARK) else 0 :
        ].decode()
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line, start = before.count(b"\n") + 1, before.rfind(b"\n") + 1
        column = len(before[start:].decode("utf-8", "replace")) + 1
        message = f"not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start}"
        return None, [Blot(line, column, message)]
    return text, []


def _read(text: str) -> Iterator[Document]:
    builder = Builder()
    for index, node in enumerate(_compose(text)):
        data = builder.start(node)
        if data is not None or builder.blots:
            place = position_of(node.start_mark)
            yield Document(*place, data, index, text, tuple(builder.blots))


def _compose(text: str) -> Iterator[Any]:
    composer = COMPOSER(text)
    while composer.check_node():
        yield composer.get_node()


@lru_cache(maxsize=4)
def _compose_all(text: str) -> Tuple[Any, ...]:
    return tuple(_compose(text))


def _explain(error: YAMLError, text: str) -> Blot:
    found = _FORBIDDEN.search(text)
    if found is not None:
        before = text[: found.start()]
        place = before.count("\n") + 1, found.start() - before.rfind("\n")
        return Blot(*place, f"not YAML: control character U+{ord(found[0]):04X}")
    if not isinstance(error, MarkedYAMLError):
        return Blot(0, 0, f"not YAML: {error}")
    mark = error.problem_mark or error.context_mark
    deep = _find_depth(text, mark.index if mark else len(text))
    if deep is not None:
        return deep
    line, column = position_of(mark) if mark else (0, 0)
    if _is_tab(text, line, column):
        return Blot(line, column, "a tab cannot indent or separate here; use spaces")
    context = f" ({error.context})" if error.context else ""
    return Blot(line, column, f"not YAML: {error.problem}{context}")


def _find_depth(text: str, end: int) -> Optional[Blot]:
    """Return our own refusal of depth, where a parser's limit for what it reads ahead came first.

    Cut off before its limit, the text has the parser hand over the brackets, which are counted.
    """
    openings = [
        found.start() for found in _OPENING.finditer(text, max(0, end - _AHEAD), end + _AHEAD)
    ]
    for opening in openings[MOST_DEPTH :: MOST_DEPTH // 2]:
        try:
            for _ in _compose(text[: opening + 1]):
                pass
        except TooMuchError as error:
            return error.blot
        except YAMLError:
            continue
    return None


def _is_tab(text: str, line: int, column: int) -> bool:
    lines = text.split("\n")
    if not 0 < line <= len(lines):
        return False
    return "\t" in lines[line - 1][:column] and not lines[line - 1][:column].strip("\t -")
