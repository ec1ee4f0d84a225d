"""`run` takes the configuration, at the start and when it is told to read it anew."""

from __future__ import annotations

import signal
from typing import Iterator, List

import pytest

from reconciler.core.settings import DirectorySource, Settings

from .fakes import FakeDaemonServices, FakeServices, call


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """Give the signals back that the daemon takes."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    former = {number: signal.getsignal(number) for number in numbers}
    yield
    for number, reaction in former.items():
        signal.signal(number, reaction)


def events_of(daemon: FakeDaemonServices) -> List[str]:
    return [event.message for event in daemon.listed.events]


def test_the_daemon_gets_the_configuration_that_is_named() -> None:
    settings = Settings(directory=DirectorySource("/srv/manifests"))
    services = FakeServices(settings=settings)
    done = call(services, "run", "--config", "other.yaml")
    assert done.status == 0, done
    assert services.configs == ["other.yaml", "other.yaml"]
    [daemon] = services.served
    assert daemon.sources == [settings, settings]
    assert daemon.told.told == ["ready", "reloading", "ready", "stopping"], events_of(daemon)


def test_the_usual_configuration_is_needed_where_none_is_named() -> None:
    services = FakeServices()
    call(services, "run")
    assert services.configs[0] == "/etc/virt-reconciler/config.yaml"


def test_another_connection_may_be_named_on_the_command_line() -> None:
    services = FakeServices()
    call(services, "run", "--connect", "qemu:///session")
    [daemon] = services.served
    assert [source.connect for source in daemon.sources] == ["qemu:///session"] * 2
