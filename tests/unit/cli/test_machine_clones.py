"""Clones of a machine: what the plan says, in which order it is done, and what is refused."""

from __future__ import annotations

from typing import Any, Mapping, Optional

import pytest

from reconciler.core.world import GuestState

from .fakes import FakeServices, applied, call, manifests

OWN: Mapping[str, Any] = {
    "disks": [{"name": "root", "size": "1GiB"}, {"name": "data", "size": "2GiB"}]
}


def clone_of(*disks: Mapping[str, Any], **spec: Any) -> Mapping[str, Any]:
    """Return a spec with disks that are cloned: name → `machine`, and so on."""
    return {"disks": [{"name": "root", "source": {"clone": dict(disk)}} for disk in disks], **spec}


def beside(spec: Mapping[str, Any], *, power: Optional[str] = None) -> FakeServices:
    """Return services whose host has `web01`, and manifests of it and of `web02`."""
    source = {**OWN, **({"power": power} if power else {})}
    services = applied(web01=source)
    services.files = manifests(web01=source, web02=spec)
    return services


def plan(services: FakeServices) -> str:
    """Return the plan as a text."""
    result = call(services, "plan", "p")
    return result.out + result.err


def test_a_machine_that_is_off_is_cloned_like_a_template() -> None:
    services = beside(clone_of({"machine": "web01"}))
    assert "full clone of machine web01, disk root, as default/web02-root.qcow2" in plan(services)
    assert call(services, "apply", "--yes", "p").status == 0
    assert "create_volume default/web02-root.qcow2" in services.host.writes
    assert call(services, "plan", "--detailed-exitcode", "p").status == 0


def test_all_disks_of_a_running_machine_are_copied_at_one_moment() -> None:
    spec = {
        "disks": [
            {"name": "root", "size": "4GiB", "source": {"clone": {"machine": "web01"}}},
            {"name": "blank", "size": "1GiB"},
            {"name": "logs", "source": {"clone": {"machine": "web01", "disk": "data"}}},
        ]
    }
    services = beside(spec, power="running")
    text = plan(services)
    assert "copy of machine web01, disk root, (1GiB) as default/web02-root.qcow2" in text
    assert text.count("copied while web01 runs: crash-consistent") == 2
    assert call(services, "apply", "--yes", "p").status == 0
    [copy] = [write for write in services.host.writes if write.startswith("copy_disks")]
    assert copy == ("copy_disks web01 vda>/images/web02-root.qcow2,vdb>/images/web02-logs.qcow2")
    writes = services.host.writes
    volumes = [place for place, write in enumerate(writes) if "create_volume" in write]
    [grown] = [place for place, write in enumerate(writes) if "resize_volume" in write]
    assert max(volumes) < writes.index(copy) < grown < len(writes) - 1


def test_a_guest_is_frozen_only_where_the_manifest_says_so() -> None:
    services = beside(clone_of({"machine": "web01", "freeze": True}), power="running")
    assert "copied while web01 runs: file systems frozen for the copy" in plan(services)
    call(services, "apply", "--yes", "p")
    assert any(write.endswith("frozen") for write in services.host.writes)


@pytest.mark.parametrize(
    ("origin", "fields", "words"),
    [
        ({"machine": "web09"}, {}, "no machine 'web09' on this host"),
        ({"machine": "web01", "disk": "x"}, {}, "has no disk 'x'; give `disk`; there are: root, data"),
        ({"machine": "web01"}, {"saved": True}, "has a saved state"),
        ({"machine": "web01"}, {"state": GuestState.CRASHED}, "web01 is crashed; apply again"),
    ],
    ids=["no-machine", "no-disk", "saved", "crashed"],
)  # fmt: skip
def test_what_cannot_be_cloned_is_refused(
    origin: Mapping[str, Any], fields: Mapping[str, Any], words: str
) -> None:
    services = beside(clone_of(origin))
    services.host.change("web01", **fields)
    assert words in plan(services)


def test_a_machine_that_is_still_to_be_created_comes_first() -> None:
    services = FakeServices(manifests(web01=OWN, web02=clone_of({"machine": "web01"})))
    assert "web01 is not there yet, and is created first; apply again" in plan(services)


def test_a_machine_that_was_started_meanwhile_is_not_cloned() -> None:
    services = beside(clone_of({"machine": "web01"}))

    def start(made: str) -> None:
        if made == "create_volume default/web02-root.qcow2":
            services.host.change("web01", state=GuestState.RUNNING, live_xml="<domain/>")

    services.host.watch = start
    result = call(services, "apply", "--yes", "p")
    assert "web01 was started while it was cloned" in result.out + result.err
    assert "web02-root.qcow2" not in services.host.pools["default"].volumes


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({"clone": {"machine": "web02"}}, "a machine cannot be cloned from itself"),
        ({"clone": {"machine": "web01"}, "template": "t"}, "give exactly one of"),
        ({"clone": "full"}, "give exactly one of"),
        ({"clone": {"disk": "root"}}, "machine"),
    ],
)
def test_a_source_that_makes_no_sense_is_an_error(source: Any, words: str) -> None:
    services = FakeServices(manifests(web02={"disks": [{"name": "root", "source": source}]}))
    result = call(services, "validate", "p")
    assert (result.status, words in result.err) == (65, True), result.err
