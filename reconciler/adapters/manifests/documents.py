"""Strict YAML to documents: the only importer of yaml. Knows nothing of manifests."""

from __future__ import annotations

from dataclasses import field
from functools import lru_cache
from typing import Any, Dict, Iterator, List, Mapping, Optional, Set, Tuple, Type

from yaml.composer import Composer
from yaml.error import MarkedYAMLError, YAMLError
from yaml.nodes import ScalarNode
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner

from reconciler.core.documents import DocumentPath
from reconciler.core.frozen import frozen, regex
from reconciler.core.units import MERGE_KEY, is_key, resolve_plain

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
_UNPRINTABLE = regex("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")

Position = Tuple[int, int]


@frozen
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
            return [self.build(item, depth + 1) for item in node.value]
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


def find_position(root: Any, path: DocumentPath, *, at_key: bool) -> Position:
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


# What YAML allows in a stream; PyYAML's own message names the character and not its place.
_FORBIDDEN = regex("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A scanner reads up to 1024 characters ahead of what it hands over, to find out what is a key.
_AHEAD = 2048
_OPENING = regex(r"[\[{]")


class _Rules:
    """Resolve no tags, and stop at a depth where a recursive parser would lose its stack."""

    depth: int

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
        self.depth = 0
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)


try:
    from yaml.cyaml import CParser  # type: ignore[attr-defined,unused-ignore]

    class FastComposer(_Rules, CParser):
        """libyaml."""

        __slots__ = ("depth",)  # counted at each node: a fifth of the time in a dictionary

        def __init__(self, text: str) -> None:
            """Begin outside of any node."""
            CParser.__init__(self, text)
            self.depth = 0

    COMPOSER: Any = FastComposer
except ImportError:
    COMPOSER = PlainComposer


@frozen
class Document:
    """One document of a file as plain data; `blots` are what is wrong with it as YAML."""

    line: int
    column: int
    data: Any
    index: int
    text: str = field(repr=False)
    blots: Tuple[Blot, ...] = ()

    def locate(self, path: DocumentPath, *, at_key: bool = False) -> Position:
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
        byte = f"byte 0x{content[error.start]:02x} at offset {error.start}"
        message = f"not UTF-8: {byte}; save the file as UTF-8"
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
    problem = f"{error.problem}{context}"
    begin, _ = position_of(error.context_mark) if error.context_mark else (line, column)
    advice = _advise(problem, text, (line, column), begin) if mark else ""
    return Blot(line, column, f"not YAML: {problem}{advice}")


# What to do, by the words of either parser. The part of the file that it could not end begins in
# line {begin}; {before} is the last line above that is not empty.
_ADVICE: Mapping[str, str] = {
    r"mapping values": "wrong indentation, or a key without ': ': compare with line {before}",
    r"expected key|expected <block end>|'-' ind": "wrong indentation: compare with line {begin}",
    r"sequence entries": "begin the list in a line of its own",
    r"',' or '[]}]'": "close the bracket of line {begin}, or write a ',' before this place",
    r"end of stream": "close the quote of line {begin}",
    r"cannot start any token": "quote a text that begins with {sign}",
    r"undefined alias|an alias|an anchor": "quote a text that begins with * or &",
    r"expected ':'": "write KEY: VALUE or '- VALUE' in line {begin}",
    r"hexdecimal|escape": "put a text with backslashes into single quotes",
    r"document start": "begin the next document with a line ---",
    r"node content": "write a value here, or put the text into quotes",
}


def _advise(problem: str, text: str, place: Position, begin: int) -> str:
    """Return what to do about a syntax error, as the end of its message."""
    words = next((words for words in _ADVICE if regex(words).search(problem)), None)
    if words is None:
        return ""
    line, column = place
    lines = text.split("\n")[:line]
    head, sign = lines[-1][: column - 1], lines[-1][column - 1 : column]
    if words == "mapping values" and ": " in head:
        return "; quote a text that contains ': '"
    if "expected key" in words and head.strip(" -"):
        return "; put the whole text into quotes"
    above = (number for number in range(line - 1, 0, -1) if lines[number - 1].strip())
    return "; " + _ADVICE[words].format(begin=begin, before=next(above, line), sign=sign)


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
