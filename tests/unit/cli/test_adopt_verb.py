"""`adopt`: ownership is taken only where nothing else would change."""

from __future__ import annotations

from typing import Any, Dict, Mapping

import pytest

from reconciler.core.world import Unknown
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.mark import drop_owner, read_owner

from .fakes import FakeServices, applied, call, manifests

NAMES = ("vm1", "vm2", "vm3", "vm4", "vm5")


@pytest.fixture
def services() -> FakeServices:
    """Return a host: vm1 fits, vm2 has another memory, vm3 is owned, vm4 differs, vm5 is dark."""
    services = applied(**{name: {} for name in NAMES})
    for name in ("vm1", "vm2"):
        view = services.host.views[name]
        services.host.change(name, persistent_xml=drop_owner(view.persistent_xml))
    services.host.snapshot.domains["vm5"] = Unknown("no answer")  # type: ignore[index]  # in memory
    specs: Dict[str, Mapping[str, Any]] = {name: {} for name in NAMES}
    services.files = manifests(**{**specs, "vm2": {"cpus": 2}, "vm4": {"autostart": True}})
    return services


def owner_of(services: FakeServices, name: str) -> str:
    """Return the manifest that a domain follows, or nothing."""
    owner = read_owner(parse(services.host.views[name].persistent_xml))
    return owner.name if owner else ""


def test_fit_domain_is_adopted_and_no_other_is_touched(services: FakeServices) -> None:
    result = call(services, "adopt", "vm1", "-f", "p")
    assert result.status == 0, result
    assert services.host.writes == ["set_metadata vm1"]
    assert (owner_of(services, "vm1"), owner_of(services, "vm2")) == ("vm1", "")
    assert "vm1: adopted\n" in result.out


def test_domain_that_differs_is_refused_with_what_differs(services: FakeServices) -> None:
    result = call(services, "adopt", "vm1", "vm2", "-f", "p")
    assert (result.status, services.host.writes) == (4, [])
    assert "cpus.count: 1 → 2" in result.out
    assert "nothing was adopted: not like their manifests: vm2" in result.err


def test_domain_that_cannot_be_planned_is_refused(services: FakeServices) -> None:
    assert call(services, "adopt", "vm5", "-f", "p").status == 4


def test_owned_domain_is_no_error(services: FakeServices) -> None:
    result = call(services, "adopt", "vm3", "-f", "p")
    assert (result.status, services.host.writes) == (0, [])
    assert "vm3: is already managed\n" in result.out


def test_an_owned_domain_whose_manifest_says_the_same_in_other_words_is_no_error() -> None:
    services = applied(vm1={"memory": "1GiB"})
    services.files = manifests(vm1={"memory": "1024MiB"})
    result = call(services, "adopt", "vm1", "-f", "p")
    assert (result.status, services.host.writes) == (0, ["set_metadata vm1"])


def test_name_without_manifest_is_wrong_usage(services: FakeServices) -> None:
    result = call(services, "adopt", "vm1", "vm9", "-f", "p")
    assert (result.status, services.host.writes) == (64, [])
    assert "no manifest for this host names vm9" in result.err


def test_manifest_without_a_domain_says_that_there_is_none(services: FakeServices) -> None:
    services.files = manifests(vm1={}, vm6={})
    result = call(services, "adopt", "vm1", "vm6", "-f", "p")
    assert (result.status, services.host.writes) == (4, [])
    assert "nothing was adopted: vm6: no such domain on this host; `apply` creates it" in result.err
