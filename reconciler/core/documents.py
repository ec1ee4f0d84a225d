"""Which kinds and fields there are, and whether a document fits its schema. Pure."""

from __future__ import annotations

import copy
from typing import (
    Any,
    Callable,
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

from reconciler.core.frozen import frozen, regex
from reconciler.core.manifest import Manifest
from reconciler.core.secrets import find_plain_secrets

Test = Callable[[Any], bool]
Schema = Mapping[str, Any]

_ANNOTATIONS = frozenset(
    {"$schema", "$comment", "title", "description", "examples", "default", "errorMessage"}
)


class UnknownKeywordError(ValueError):
    """The schema uses what this validator does not implement."""


def compile_schema(schema: Schema) -> Test:
    """Return a predicate that agrees with draft-07 on every value that JSON can hold."""
    return _compile(schema, schema)


def _compile(schema: Schema, root: Schema) -> Test:
    if "$ref" in schema:
        return _compile_reference(schema, root)
    keywords = [
        keyword for keyword in schema if keyword not in _ANNOTATIONS and keyword != "definitions"
    ]
    unknown = sorted(set(keywords) - set(_KEYWORDS))
    if unknown:
        raise UnknownKeywordError(f"keyword {', '.join(unknown)} is not implemented")
    # In the table's order, and once for keywords that are tested together.
    makers = dict.fromkeys(_KEYWORDS[keyword] for keyword in _KEYWORDS if keyword in schema)
    return _all([maker(schema, root) for maker in makers])


def _compile_reference(schema: Schema, root: Schema) -> Test:
    siblings = sorted(set(schema) - _ANNOTATIONS - {"$ref"})
    if siblings:
        raise UnknownKeywordError(f"{', '.join(siblings)} beside $ref has no effect in draft-07")
    prefix, _, name = schema["$ref"].rpartition("/")
    if prefix != "#/definitions":
        raise UnknownKeywordError(f"$ref {schema['$ref']} is not a local definition")
    return _compile(root["definitions"][name], root)


def _all(tests: List[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:  # noqa: PLR2004 - most are of a type and one more
        first, second = tests
        return lambda value: first(value) and second(value)

    def check(value: Any) -> bool:
        for test in tests:  # noqa: SIM110 - a generator would cost as much as the tests
            if not test(value):
                return False
        return True

    return check


def _is_integer(value: Any) -> bool:
    if isinstance(value, float):
        return value.is_integer()
    return isinstance(value, int) and not isinstance(value, bool)


_TYPES: Mapping[str, Test] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "boolean": lambda value: isinstance(value, bool),
    "integer": _is_integer,
}


def _type(schema: Schema, _: Schema) -> Test:
    if schema["type"] not in list(_TYPES):  # a list of types cannot be hashed
        raise UnknownKeywordError(f"type {schema['type']} is not implemented")
    return _TYPES[schema["type"]]


def _enum(schema: Schema, _: Schema) -> Test:
    if not all(isinstance(word, str) for word in schema["enum"]):
        raise UnknownKeywordError("enum is implemented for strings only")
    words = frozenset(schema["enum"])
    return lambda value: isinstance(value, str) and value in words


def _pattern(schema: Schema, _: Schema) -> Test:
    pattern = regex(schema["pattern"])  # a manifest has few of the fields
    return lambda value: not isinstance(value, str) or pattern.search(value) is not None


def _length(schema: Schema, _: Schema) -> Test:
    least, most = schema.get("minLength", 0), schema.get("maxLength", float("inf"))
    return lambda value: not isinstance(value, str) or least <= len(value) <= most


def _range(schema: Schema, _: Schema) -> Test:
    least, most = schema.get("minimum", float("-inf")), schema.get("maximum", float("inf"))

    def check(value: Any) -> bool:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return not is_number or not (value < least or value > most)

    return check


def _items(schema: Schema, root: Schema) -> Test:
    test = _compile(schema["items"], root)

    def check(value: Any) -> bool:
        return not isinstance(value, list) or all(map(test, value))

    return check


def _count(schema: Schema, _: Schema) -> Test:
    least = schema["minItems"]
    return lambda value: not isinstance(value, list) or len(value) >= least


def _unique(schema: Schema, _: Schema) -> Test:
    if schema.get("items", {}).get("type") != "string" or not schema["uniqueItems"]:
        raise UnknownKeywordError("uniqueItems is implemented for lists of strings only")
    # `items` stands before in the table, so by now they are strings.
    return lambda value: not isinstance(value, list) or len(set(value)) == len(value)


def _properties(schema: Schema, root: Schema) -> Test:
    tests = {name: _compile(inner, root) for name, inner in schema.get("properties", {}).items()}
    others = _others(schema.get("additionalProperties", True), root)

    def check(value: Any) -> bool:
        if not isinstance(value, dict):
            return True
        for name, item in value.items():  # noqa: SIM110 - the hottest loop of all
            if not tests.get(name, others)(item):
                return False
        return True

    return check


def _others(schema: Any, root: Schema) -> Test:
    if isinstance(schema, bool):
        return lambda _: schema
    return _compile(schema, root)


def _names(schema: Schema, root: Schema) -> Test:
    test = _compile(schema["propertyNames"], root)
    return lambda value: not isinstance(value, dict) or all(map(test, value))


def _required(schema: Schema, _: Schema) -> Test:
    names = frozenset(schema["required"])
    return lambda value: not isinstance(value, dict) or names <= value.keys()


def _dependencies(schema: Schema, _: Schema) -> Test:
    needs: Dict[str, Tuple[str, ...]] = {}
    for name, others in schema["dependencies"].items():
        if not isinstance(others, list):
            raise UnknownKeywordError("dependencies are implemented for lists of names only")
        needs[name] = tuple(others)

    def check(value: Any) -> bool:
        if not isinstance(value, dict):
            return True
        return all(need in value for name in needs if name in value for need in needs[name])

    return check


def _any_of(schema: Schema, root: Schema) -> Test:
    tests = [_compile(choice, root) for choice in schema["anyOf"]]
    return lambda value: any(test(value) for test in tests)


def _one_of(schema: Schema, root: Schema) -> Test:
    tests = [_compile(choice, root) for choice in schema["oneOf"]]
    return lambda value: sum(test(value) for test in tests) == 1


# `type` stands first, so that later tests are rarely made in vain.
_KEYWORDS: Mapping[str, Callable[[Schema, Schema], Test]] = {
    "type": _type,
    "enum": _enum,
    "pattern": _pattern,
    "minLength": _length,
    "maxLength": _length,
    "minimum": _range,
    "maximum": _range,
    "items": _items,
    "minItems": _count,
    "uniqueItems": _unique,
    "properties": _properties,
    "additionalProperties": _properties,
    "propertyNames": _names,
    "required": _required,
    "dependencies": _dependencies,
    "anyOf": _any_of,
    "oneOf": _one_of,
}


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
