"""Which settings hold for a command."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.cli import settings as module
from reconciler.cli.arguments import build_parser
from reconciler.cli.composition import Product
from reconciler.cli.settings import settings_of
from reconciler.core.loop.settings import DirectorySource, Settings
from reconciler.errors import UsageError

from .fakes import FakeParts

FROM_FILE = Settings(directory=DirectorySource("/m"), connect="test:///default")


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the usual configuration would be; it is not there."""
    path = tmp_path / "config.yaml"
    monkeypatch.setattr(module, "CONFIG_FILE", str(path))
    return path


def settle(parts: FakeParts, *argv: str, is_required: bool = False) -> Settings:
    """Return the settings of a command line."""
    options = build_parser().parse_args([*argv, "status"])
    return settings_of(options, parts, is_required=is_required)


def test_the_usual_file_is_read_where_it_is(usual: Path) -> None:
    usual.touch()
    parts = FakeParts(settings=FROM_FILE)
    assert settle(parts) == FROM_FILE
    assert parts.configs == [str(usual)]


def test_without_the_usual_file_the_defaults_hold(usual: Path) -> None:
    parts = FakeParts(settings=FROM_FILE)
    assert settle(parts) == Settings()
    assert parts.configs == []


def test_a_dangling_link_is_no_missing_file(usual: Path) -> None:
    usual.symlink_to(usual.parent / "away.yaml")
    assert settle(FakeParts(settings=FROM_FILE)) == FROM_FILE


def test_a_file_that_is_named_must_be_there(usual: Path) -> None:
    options = build_parser().parse_args(["status", "--config", str(usual)])
    with pytest.raises(UsageError, match=f"there is no configuration file {usual}"):
        settings_of(options, Product())


def test_the_daemon_needs_a_file(usual: Path) -> None:
    options = build_parser().parse_args(["status"])
    with pytest.raises(UsageError, match=f"there is no configuration file {usual}"):
        settings_of(options, Product(), is_required=True)


def test_the_option_connect_goes_before_the_file(usual: Path) -> None:
    usual.touch()
    settings = settle(FakeParts(settings=FROM_FILE), "-c", "qemu:///session")
    assert (settings.connect, settings.directory) == ("qemu:///session", FROM_FILE.directory)
    usual.unlink()
    assert settle(FakeParts(), "-c", "qemu:///session").connect == "qemu:///session"
