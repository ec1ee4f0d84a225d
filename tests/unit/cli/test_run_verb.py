"""`run` takes the configuration, at the start and when it is told to read it anew."""

from __future__ import annotations

from reconciler.core.settings import DirectorySource, Settings

from .fakes import FakeParts, call


def test_the_daemon_gets_the_configuration_that_is_named() -> None:
    settings = Settings(directory=DirectorySource("/srv/manifests"))
    parts = FakeParts(settings=settings)
    done = call(parts, "run", "--config", "other.yaml")
    assert done.status == 0
    assert parts.configs == ["other.yaml", "other.yaml"]
    assert parts.served == [settings, settings]


def test_the_usual_configuration_is_needed_where_none_is_named() -> None:
    parts = FakeParts()
    call(parts, "run")
    assert parts.configs[0] == "/etc/virt-reconciler/config.yaml"


def test_another_connection_may_be_named_on_the_command_line() -> None:
    parts = FakeParts()
    call(parts, "run", "--connect", "qemu:///session")
    assert [one.connect for one in parts.served] == ["qemu:///session"] * 2
