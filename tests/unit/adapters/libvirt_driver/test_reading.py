"""Domains as values, and what becomes of one that goes or cannot be read."""

from __future__ import annotations

from typing import List, Optional, cast

import libvirt
import pytest

from reconciler.adapters.libvirt.domain_reader import list_views
from reconciler.adapters.libvirt.host import LibvirtHost
from reconciler.adapters.libvirt.objects import Connection, Domain
from reconciler.core.world import DomainView, GuestState, Unknown
from reconciler.errors import NotFoundError
from tests.unit.adapters.libvirt_driver.test_errors import QEMU, Made

RUNNING = "<domain type='test' id='7'><name>x</name></domain>"
STORED = "<domain type='test'><name id='7'>x</name></domain>"


class FakeDomain:
    """A domain that answers, or raises, as it is told."""

    def __init__(
        self, name: str, number: int = -1, live: str = STORED, error: Optional[Exception] = None
    ) -> None:
        """Be listed under the name with libvirt's id (-1: off)."""
        self._name, self._number, self._live, self._error = name, number, live, error

    def name(self) -> str:
        return self._name

    def ID(self) -> int:  # noqa: N802
        return self._number

    def UUIDString(self) -> str:  # noqa: N802
        return f"uuid-of-{self._name}"

    def XMLDesc(self, flags: int = 0) -> str:  # noqa: N802
        if self._error is not None:
            raise self._error
        return STORED if flags & libvirt.VIR_DOMAIN_XML_INACTIVE else self._live


class FakeConnection:
    """A connection that lists these domains."""

    def __init__(self, *domains: FakeDomain) -> None:
        """Have the domains, none of which has any mark."""
        self._domains = domains

    def listAllDomains(self, flags: int = 0) -> List[Domain]:  # noqa: N802
        return [] if flags else cast("List[Domain]", list(self._domains))


def read(*domains: FakeDomain) -> dict[str, DomainView | Unknown]:
    return dict(list_views(cast("Connection", FakeConnection(*domains))))


def test_a_domain_that_vanished_since_it_was_listed_is_not_there() -> None:
    gone = FakeDomain("gone", error=Made(libvirt.VIR_ERR_NO_DOMAIN, QEMU))
    assert list(read(FakeDomain("stays"), gone)) == ["stays"]


def test_a_domain_that_cannot_be_read_is_unknown_and_the_others_are_read() -> None:
    sick = FakeDomain("sick", error=Made(libvirt.VIR_ERR_OPERATION_TIMEOUT, QEMU, "no job"))
    views = read(*(FakeDomain(f"vm{index}") for index in range(20)), sick)
    assert views["sick"] == Unknown("domain sick: reading it: no job")
    assert sum(isinstance(view, DomainView) for view in views.values()) == 20


@pytest.mark.parametrize("count", [3, 300])
def test_a_bug_met_at_one_domain_leaves_the_others(count: int) -> None:
    domains = [FakeDomain(f"vm{index}") for index in range(count)]
    views = read(*domains, FakeDomain("odd", error=KeyError("oops")))
    assert [name for name, view in views.items() if isinstance(view, Unknown)] == ["odd"]
    assert "internal error (KeyError" in str(views["odd"])
    assert len(views) == count + 1


def test_a_guest_that_stopped_since_it_was_listed_is_off() -> None:
    view = read(FakeDomain("x", number=7, live=STORED))["x"]
    assert isinstance(view, DomainView)
    assert (view.state, view.live_xml) == (GuestState.OFF, None)


def test_a_running_guest_has_both_configurations() -> None:
    view = read(FakeDomain("x", number=7, live=RUNNING))["x"]
    assert isinstance(view, DomainView)
    assert (view.state, view.live_xml, view.persistent_xml) == (GuestState.RUNNING, RUNNING, STORED)


def test_one_read_and_many_read_are_the_same(host: LibvirtHost) -> None:
    host.domains.set_autostart("off", True)
    views = host.domains.list_domains()
    assert set(views) == {"on", "off"}
    for name, view in views.items():
        assert view == host.domains.read_domain(name)
        assert isinstance(view, DomainView)
        assert view.autostart is (name == "off")
        assert (view.state is GuestState.RUNNING) is (name == "on")


def test_a_name_that_libvirt_does_not_have_is_not_found(host: LibvirtHost) -> None:
    with pytest.raises(NotFoundError, match="absent"):
        host.domains.read_domain("absent")
