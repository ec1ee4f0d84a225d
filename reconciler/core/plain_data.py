"""Frozen values as plain JSON data and back, by their declared types. Pure.

For documents that we write and read ourselves: names in camelCase, sets sorted, an enum by its
value, `Unknown` as `{"unknown": reason}`, without secrets. What does not fit its type raises
ValueError with a path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, Dict, Tuple, Union, get_args, get_origin, get_type_hints

from reconciler.core.secrets import hide_text
from reconciler.core.world import Unknown

UNKNOWN = "unknown"
# All our floats are times, and these can be shown: the years 1 (in any zone) to 9999.
_EARLIEST, _LATEST = -62_000_000_000, 253_000_000_000


def to_plain(value: Any) -> Any:
    """Return a value as what JSON has."""
    if isinstance(value, Unknown):
        return {UNKNOWN: hide_text(value.reason)}  # libvirt's own words, with an address perhaps
    if is_dataclass(value):
        return {camel(field.name): to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): to_plain(value[key]) for key in sorted(value)}
    if isinstance(value, frozenset):
        return [to_plain(item) for item in sorted(value)]
    return [to_plain(item) for item in value] if isinstance(value, tuple) else value


def from_plain(hint: Any, data: Any, path: str = "") -> Any:
    """Return the value of that type. Raises ValueError, naming the path, if it is none."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Union:
        return _read_one_of(inner, data, path)
    if origin is not None:
        return _read_many(origin, inner, data, path)
    if is_dataclass(hint):
        return _read_dataclass(hint, data, path)
    if isinstance(hint, type) and issubclass(hint, Enum):
        return _try(hint, data, path)
    if not _is_plain(hint, data):
        raise _misfit(data, path)
    return data


def _is_plain(hint: Any, data: Any) -> bool:
    """Whether it is a plain value of that type; a whole number will do for a time."""
    if isinstance(data, bool):
        return hint is bool
    if hint is float:
        return isinstance(data, (int, float)) and _EARLIEST <= data <= _LATEST
    return isinstance(data, hint)


def camel(name: str) -> str:
    """Return `disk_sizes` as `diskSizes`."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _read_one_of(choices: Tuple[Any, ...], data: Any, path: str) -> Any:
    """Read an Optional, a value that may be Unknown, or one of several plain types."""
    if data is None and type(None) in choices:
        return None
    if Unknown in choices and isinstance(data, dict) and set(data) == {UNKNOWN}:
        return Unknown(from_plain(str, data[UNKNOWN], f"{path}.{UNKNOWN}"))
    rest = [choice for choice in choices if choice not in (Unknown, type(None))]
    if len(rest) > 1:
        rest = [choice for choice in rest if _is_plain(choice, data)][:1]
    if not rest:
        raise _misfit(data, path)
    return from_plain(rest[0], data, path)


def _read_many(origin: Any, inner: Tuple[Any, ...], data: Any, path: str) -> Any:
    if issubclass(origin, Mapping):
        found = _check(dict, data, path)
        return {key: from_plain(inner[1], value, f"{path}.{key}") for key, value in found.items()}
    items = _check(list, data, path)
    if origin is tuple and inner[-1] is not Ellipsis:
        if len(items) != len(inner):
            raise _misfit(data, path)
        return tuple(from_plain(*pair, path) for pair in zip(inner, items))
    read = (from_plain(inner[0], item, f"{path}[{index}]") for index, item in enumerate(items))
    return tuple(read) if origin is tuple else frozenset(read)


def _read_dataclass(type_: Any, data: Any, path: str) -> Any:
    """Read what is known of it; what a newer version has added is left out."""
    found = _check(dict, data, path)
    hints = _hints(type_)
    given = {
        name: from_plain(hint, found[camel(name)], f"{path}.{camel(name)}")
        for name, hint in hints.items()
        if camel(name) in found
    }
    return _try(lambda values: type_(**values), given, path)


@cache
def _hints(type_: Any) -> Dict[str, Any]:
    return get_type_hints(type_)


def _check(type_: Any, data: Any, path: str) -> Any:
    if not isinstance(data, type_):
        raise _misfit(data, path)
    return data


def _try(make: Any, data: Any, path: str) -> Any:
    try:
        return make(data)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path.lstrip('.') or 'the document'}: {error}") from error


def _misfit(data: Any, path: str) -> ValueError:
    shown = repr(data)
    return ValueError(f"{path.lstrip('.') or 'the document'}: {shown[:60]} does not fit here")
