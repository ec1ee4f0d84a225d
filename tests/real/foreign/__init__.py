"""Domains that other tools and people made. No test is here; README.md says where each is from."""

from __future__ import annotations

from pathlib import Path
from typing import Dict

from tests.real.foreign.features import FEATURES

HERE = Path(__file__).parent
FOLDERS = ("virt_install", "made_by")


def _read() -> Dict[str, str]:
    files = sorted(one for folder in FOLDERS for one in (HERE / folder).glob("*.xml"))
    found = {file.stem: file.read_text(encoding="utf-8") for file in files}
    features = {name: feature.xml(name) for name, feature in FEATURES.items()}
    assert not found.keys() & features.keys()
    return {**found, **features}


# Name → definition; `@IMAGES@` stands for the folder of the pool `default`.
SHAPES = _read()
