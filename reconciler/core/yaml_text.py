"""Write plain data as YAML text: mappings, lists, strings, numbers, booleans, nothing else.

A small writer, because exports carry remarks, which a YAML library's dumper cannot write, and
because what is quoted must be safe for YAML 1.1 readers too (`on`, `no`, `1:30`). Never reads YAML.
"""

from __future__ import annotations

import json
from typing import Any, Iterable, Iterator, Mapping, Sequence

from reconciler.core.frozen import regex
from reconciler.core.secrets import hide_text

# Plain only what no YAML reader takes for anything but a string.
_PLAIN = regex(r"[A-Za-z_/][A-Za-z0-9_./-]*|[0-9]+(?:\.[0-9]+)?[KMGTPE]iB")
_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n", "nan", "inf"})


def write_documents(documents: Iterable[tuple[Mapping[str, Any], Sequence[str]]]) -> str:
    """Return YAML documents, each with its remarks as comments above it."""
    return "---\n".join(_document(data, remarks) for data, remarks in documents)


def _document(data: Mapping[str, Any], remarks: Sequence[str]) -> str:
    lines = [f"# {_one_line(remark)}" for remark in remarks]
    return "\n".join([*lines, *_mapping(data, "")]) + "\n"


def _one_line(text: str) -> str:
    shown = hide_text(text)
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in shown
    )


def _mapping(data: Mapping[str, Any], indent: str) -> Iterator[str]:
    for key, value in data.items():
        yield from _entry(f"{indent}{_scalar(key)}:", value, indent)


def _entry(head: str, value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        yield head
        yield from _mapping(value, f"{indent}  ")
    elif isinstance(value, list) and value:
        yield head
        for item in value:
            yield from _item(item, f"{indent}  ")
    else:
        yield f"{head} {_scalar(value)}"


def _item(item: Any, indent: str) -> Iterator[str]:
    if not (isinstance(item, dict) and item):
        yield f"{indent}- {_scalar(item)}"
        return
    first, *rest = _mapping(item, f"{indent}  ")
    yield f"{indent}- {first.lstrip()}"
    yield from rest


def _scalar(value: Any) -> str:
    if value in ({}, []) or isinstance(value, (bool, int)) or value is None:
        return json.dumps(value)
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in _WORDS:
        return text
    return _quote(text)


def _quote(text: str) -> str:
    """Return a double-quoted scalar; what is not printable stands there by its code."""
    return '"' + "".join(map(_quote_one, text)) + '"'


def _quote_one(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    return f"\\U{ord(character):08x}"
