"""The host is read while the manifests are, and only if a manifest is right."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, Callable, Optional, Sequence

import pytest

from reconciler.cli.plans import HostAhead
from reconciler.control.ports import Host
from reconciler.core.manifest_files import LoadedManifests
from reconciler.errors import TransientError

from .fakes import FakeServices, applied, call

LIMIT = 10  # seconds


@dataclass
class SlowFiles(FakeServices):
    """Manifests of which the first is right at once, and the last is read when the host was asked."""

    asked: threading.Event = field(default_factory=threading.Event)

    def load_manifests(
        self, paths: Sequence[str], on_sound: Optional[Callable[[], object]] = None
    ) -> LoadedManifests:
        """Wait for the host."""
        assert on_sound is not None
        on_sound()
        on_sound()
        assert self.asked.wait(LIMIT)
        return super().load_manifests(paths)

    def connect(self, uri: Optional[str]) -> Host:
        """Be asked."""
        self.asked.set()
        return super().connect(uri)


@pytest.fixture
def services() -> SlowFiles:
    made = SlowFiles(**vars(applied(vm1={"power": "running"})))
    made.uris.clear()
    return made


def test_libvirt_is_asked_once_and_while_manifests_are_read(services: SlowFiles) -> None:
    result = call(services, "plan", "vm/")
    assert (result.status, result.err) == (0, "")
    assert "1 unchanged" in result.out
    assert services.uris == [None]


def test_what_fails_meanwhile_is_said_as_ever(services: SlowFiles) -> None:
    services.unreachable = TransientError("libvirt does not answer")
    result = call(services, "plan", "vm/")
    assert (result.status, result.out) == (1, "")
    assert result.err == "virt-reconciler: error: libvirt does not answer\n"


def test_a_bug_met_meanwhile_is_reported_as_one(services: SlowFiles) -> None:
    services.unreachable = KeyError("oops")
    result = call(services, "plan", "vm/")
    assert result.status == 1
    assert "this is a bug in virt-reconciler" in result.err
    assert "KeyError: 'oops'" in result.err


def test_domains_that_cannot_be_listed_leave_the_host_reached() -> None:
    def refuse() -> None:
        raise TransientError("no answer")

    host: Any = SimpleNamespace(domains=SimpleNamespace(list_domains=refuse))
    ahead = HostAhead(lambda: host)
    ahead.start()
    assert ahead.wait() is host
    with pytest.raises(TransientError, match="no answer"):
        ahead.list_domains()
