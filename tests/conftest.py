"""Options and fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import pytest
from hypothesis import settings

import reconciler.kinds  # noqa: F401 - fills the table of kinds
from tests.lab import surroundings

# Before any test or library is read: some look at the environment then.
surroundings.begin()
# A busy machine is no failure.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

Golden = Callable[[Path, str], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the switch that writes golden files anew."""
    parser.addoption(
        "--regenerate", action="store_true", help="write golden files anew; then read `git diff`"
    )


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    surroundings.end()


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Return a function that compares a text with a golden file, or writes it anew."""

    def check(path: Path, text: str) -> None:
        if request.config.getoption("--regenerate"):
            path.write_text(text, encoding="utf-8")
        assert path.is_file(), f"{path} is missing: run pytest with --regenerate and read it"
        assert text == path.read_text(encoding="utf-8")

    return check
