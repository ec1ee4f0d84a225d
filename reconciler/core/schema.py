"""A schema as a predicate: whether a document fits it. Why it does not is told elsewhere. Pure."""

from __future__ import annotations

from typing import Any, Callable, Dict, List, Mapping, Tuple

from reconciler.core.frozen import regex

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
