"""Why a document does not fit its schema, in words for people: the only importer of jsonschema."""

from __future__ import annotations

import json
import re
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, Iterator, List, Mapping, Sequence, Tuple

from reconciler.adapters.manifests.documents import Blot, Document, read_documents
from reconciler.core.cloud_init import HEADER
from reconciler.core.documents import (
    CONFIGURATION,
    DOCUMENTS,
    DocumentPath,
    Finding,
    format_path,
    refuse_field,
    suggest,
)
from reconciler.core.kinds import find_row, list_kinds
from reconciler.core.schema import Test, compile_schema
from reconciler.core.secret_refs import REFERENCE
from reconciler.core.units import resolve_plain, suggest_size
from reconciler.errors import UsageError

# In a checkout this is a link to the folder `schemas` at the top.
_FOLDER = Path(__file__).parents[2] / "schemas" / "v1"


def read_schema(kind: str) -> str:
    """Return the JSON Schema of a kind as text; `all` is the one for editors."""
    if kind in list_kinds():
        path = find_row(kind).schema
        return (_FOLDER / f"{kind}.json" if path is None else Path(path)).read_text("utf-8")
    names = (*list_kinds(), CONFIGURATION, *DOCUMENTS)
    if kind not in (*names, "all"):
        raise UsageError(f"there is no schema {kind!r}; there are {', '.join(names)} and all")
    return (_FOLDER / f"{kind}.json").read_text(encoding="utf-8")


@cache
def load_schema(kind: str) -> Mapping[str, Any]:
    """Return the schema of a kind as data; not to be changed."""
    schema: Mapping[str, Any] = json.loads(read_schema(kind))
    return schema


@cache
def is_valid(kind: str) -> Test:
    """Return the fast predicate of a kind."""
    return compile_schema(load_schema(kind))


Error = Any  # a ValidationError, whose attributes each release types differently

MOST_FINDINGS = 200  # of a document: more than are ever listed
_MOST_SHOWN = 40
_MOST_FIELDS = 8  # that are named where a mapping is missing
MOST_MESSAGE = 200  # characters of what another schema's error says
_TYPE_NAMES = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "boolean": "true or false",
    "integer": "a whole number",
}


def explain(kind: str, schema: Mapping[str, Any], data: Any) -> List[Finding]:
    """Return what is wrong with the data; empty if nothing is."""
    from jsonschema import Draft7Validator  # noqa: PLC0415 - 30 ms, and most manifests are valid

    errors = Draft7Validator(schema).iter_errors(data)
    found = (finding for error in errors for finding in _explain(kind, error))
    return list(dict.fromkeys(islice(found, MOST_FINDINGS)))


# Where distributions have the schema of the cloud-config that their cloud-init reads.
CLOUD_SCHEMAS = (
    "/usr/lib/python3*/site-packages/cloudinit/config/schemas/schema-cloud-config-v1.json",
    "/usr/lib/python3*/dist-packages/cloudinit/config/schemas/schema-cloud-config-v1.json",
)
# YAML 1.1, which cloud-init reads, takes these words for true and false.
_TRUTHS = frozenset({"yes", "no", "on", "off", "y", "n"})


def check_cloud_config(spec: Mapping[str, Any]) -> Tuple[List[Finding], List[Finding]]:
    """Return what is wrong with user and vendor data that are cloud-config, and the warnings.

    What the schema of this host's cloud-init refuses is a warning, as the guest may have another
    version.
    """
    given = spec.get("cloudInit", {})
    wrong: List[Finding] = []
    warnings: List[Finding] = []
    for name in ("userData", "vendorData"):
        data, path = given.get(name), ("spec", "cloudInit", name)
        if isinstance(data, dict):
            warnings += _check_schema(path, data, is_text=False)
        elif isinstance(data, str) and data.partition("\n")[0].rstrip() == HEADER:
            documents, blots = read_documents(data.encode())
            found = list(_check_text(path, documents, blots))
            wrong += found
            if documents and not found:
                warnings += _check_schema(path, documents[0].data, is_text=True)
    return wrong, warnings


def _check_text(
    path: DocumentPath, documents: Sequence[Document], blots: Sequence[Blot]
) -> Iterator[Finding]:
    """Say why a text is not cloud-config. One that has only the header is."""
    for blot in (*blots, *(blot for document in documents for blot in document.blots)):
        yield Finding(path, f"line {blot.line} of the text is not valid YAML: {blot.message}")
    if len(documents) > 1:
        line = documents[1].line
        yield Finding(path, f"line {line} of the text begins another document; write only one")
    elif documents and not isinstance(documents[0].data, dict):
        yield Finding(path, f"the text below {HEADER} is not a mapping; write KEY: VALUE")


def _check_schema(
    path: DocumentPath, config: Mapping[str, Any], *, is_text: bool
) -> Iterator[Finding]:
    """Say what cloud-init's own schema refuses; nothing if this host has no cloud-init."""
    import glob  # noqa: PLC0415 - start-up time

    file = next((file for place in CLOUD_SCHEMAS for file in glob.iglob(place)), None)
    if file is None:
        return
    from jsonschema.exceptions import best_match  # noqa: PLC0415 - as above

    for outer in _load_cloud_schema(file).iter_errors(_without_references(config)):
        error = best_match(iter([outer]))
        if is_text and str(error.instance).lower() in _TRUTHS:
            continue
        message = f"cloud-init's schema ({file}) refuses it: {_shorten(error.message)}"
        where = _path(error)
        inside = f"{format_path(where)}: " if is_text and where else ""
        yield Finding(path if is_text else (*path, *where), f"{inside}{message}")


@cache
def _load_cloud_schema(file: str) -> Any:
    from jsonschema import Draft4Validator  # noqa: PLC0415 - as above

    with open(file, encoding="utf-8") as opened:
        return Draft4Validator(json.load(opened))


def _without_references(data: Any) -> Any:
    """Return cloud-config with a text in place of each secret that it refers to."""
    if isinstance(data, dict):
        if set(data) == {REFERENCE}:
            return "secret"
        return {key: _without_references(value) for key, value in data.items()}
    return [_without_references(value) for value in data] if isinstance(data, list) else data


def _shorten(message: str) -> str:
    return message if len(message) <= MOST_MESSAGE else f"{message[:MOST_MESSAGE]}…"


def _explain(kind: str, error: Error) -> Iterator[Finding]:
    if error.validator in ("anyOf", "oneOf"):
        yield from _explain_choice(kind, error)
    elif error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        for key in error.instance:
            if key not in known:
                yield refuse_field((*_path(error), key), known)
    elif "propertyNames" in error.absolute_schema_path:
        message = f"{_show(error.instance)} is not a valid key{_advice(error)}"
        yield Finding((*_path(error), error.instance), message, at_key=True)
    elif error.validator == "required":
        yield from _explain_missing(error)
    else:
        yield Finding(_path(error), _message(kind, error))


def _path(error: Error) -> DocumentPath:
    return tuple(error.absolute_path)


def _explain_missing(error: Error) -> Iterator[Finding]:
    for name in error.validator_value:
        if name not in error.instance:
            yield Finding(_path(error), f"{name} is missing")


def _explain_choice(kind: str, error: Error) -> Iterator[Finding]:
    """Explain the one alternative that was meant, or what the alternatives are."""
    if error.schema.get("type") == "object" and not isinstance(error.instance, dict):
        return  # told as a wrong type
    meant = [errors for errors in _alternatives(error) if not _is_other_type(error, errors)]
    if error.validator == "anyOf" and len(meant) == 1:
        for cause in meant[0]:
            yield from _explain(kind, cause)
    else:
        yield Finding(_path(error), _message(kind, error))


def _alternatives(error: Error) -> Iterable[List[Error]]:
    groups: Dict[Any, List[Error]] = {}
    for cause in error.context:
        groups.setdefault(cause.schema_path[0], []).append(cause)
    return groups.values()


def _is_other_type(error: Error, errors: Iterable[Error]) -> bool:
    """Whether an alternative is for values of another type than the one that was given."""
    depth = len(error.absolute_path)
    return any(cause.validator == "type" and len(cause.absolute_path) == depth for cause in errors)


def _message(kind: str, error: Error) -> str:
    words = _WORDS.get(str(error.validator))
    if _is_of_wrong_type(error):
        return _wrong_type(kind, error)
    return words(error) if words else f"{_show(error.instance)} is not valid{_advice(error)}"


def _is_of_wrong_type(error: Error) -> bool:
    if error.validator == "anyOf":
        return True
    return error.validator == "type" or (
        error.validator == "enum" and not isinstance(error.instance, str)
    )


def _wrong_type(kind: str, error: Error) -> str:
    value = error.instance
    if value is None:
        return f"is empty; leave the field out, or {_wanted(error)}"
    wanted = _advise_quotes(kind, error) or _wanted(error)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{_show(value)} is an unquoted number; {wanted}"
    return f"{_show(value)} is not valid here; {wanted}"


def _advise_quotes(kind: str, error: Error) -> str:
    """Return what to do where the value would be right with quotes, or without them."""
    definitions = load_schema(kind).get("definitions", {})
    fits = compile_schema({**error.schema, "definitions": definitions})
    value = error.instance
    if isinstance(value, (bool, int, float)):
        return "write it in quotes" if fits(_show(value)) else ""
    try:
        plain = resolve_plain(value) if isinstance(value, str) else value
    except ValueError:
        return ""
    return "remove the quotes" if plain != value and fits(plain) else ""


def _wanted(error: Error) -> str:
    advice = error.schema.get("errorMessage")
    if advice:
        return str(advice)
    if "enum" in error.schema:
        return f"write one of {', '.join(error.schema['enum'])}"
    fields = error.schema.get("properties", {})
    if 0 < len(fields) <= _MOST_FIELDS:
        return f"write a mapping with {', '.join(fields)}"
    if error.schema.get("type") == "string":
        return "write text, in quotes if it looks like a number"
    return f"write {_TYPE_NAMES.get(error.schema.get('type', ''), 'something else')}"


def _advice(error: Error) -> str:
    if error.schema.get("title") == "Size":
        meant = suggest_size(str(error.instance))
        if meant and re.fullmatch(error.validator_value, meant):
            return f"; did you mean {meant}?"
        if meant:
            return "; write 1 to 12 digits that do not begin with 0, and a unit, like 4GiB"
    advice = error.schema.get("errorMessage")
    return f"; {advice}" if advice else ""


def _show(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return "a mapping" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"


def _explain_enum(error: Error) -> str:
    words: Tuple[str, ...] = tuple(error.validator_value)
    if len(words) == 1:
        return f"{_show(error.instance)} is not {words[0]}{_advice(error)}"
    hint = suggest(error.instance, words)
    return f"{_show(error.instance)} is not one of {', '.join(words)}{hint}"


def _explain_dependencies(error: Error) -> str:
    lacking = [
        f"{name} has no effect without {other}"
        for name, others in error.validator_value.items()
        if name in error.instance
        for other in others
        if other not in error.instance
    ]
    return "; ".join(lacking)


_WORDS: Mapping[str, Callable[[Error], str]] = {
    "enum": _explain_enum,
    "oneOf": lambda error: str(
        error.schema.get("errorMessage", "matches none or several of the alternatives")
    ),
    "dependencies": _explain_dependencies,
    "minimum": lambda error: f"{error.instance} is too small; at least {error.validator_value}",
    "maximum": lambda error: f"{error.instance} is too large; at most {error.validator_value}",
    "minItems": lambda error: f"needs at least {error.validator_value} entry",
    "uniqueItems": lambda _: "contains an entry twice",
}
