"""Time zones as Windows calls them, and by their names of the IANA database.

`time_zones.json` has Windows' names, each with the places that it stands for, the best known first
(after CLDR's `windowsZones.xml`). Loaded only for a manifest that names one.
"""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Mapping, Optional, Tuple

_FILE = "time_zones.json"


@cache
def _read_zones() -> Mapping[str, Tuple[str, ...]]:
    path = os.path.join(os.path.dirname(__file__), _FILE)
    with open(path, encoding="utf-8") as file:
        return {name: tuple(places) for name, places in json.load(file).items()}


def find_windows_zone(text: str) -> Optional[str]:
    """Return Windows' name of a zone that is given by that, or by a place; None if unknown."""
    zones = _read_zones()
    if text in zones:
        return text
    return next((name for name, places in zones.items() if text in places), None)


def find_place(name: str) -> str:
    """Return the best known place of a zone of Windows; of another name that name."""
    return _read_zones().get(name, (name,))[0]


def find_near(text: str) -> Tuple[str, ...]:
    """Return the names nearest to one that is not known, at most three."""
    import difflib  # noqa: PLC0415 - start-up time

    zones = _read_zones()
    known = [*zones, *(place for places in zones.values() for place in places)]
    return tuple(difflib.get_close_matches(text, known, n=3, cutoff=0.5))
