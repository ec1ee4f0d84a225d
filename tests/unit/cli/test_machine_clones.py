"""Clones of a machine: what the plan says, in which order it is done, and what is refused."""

from __future__ import annotations

from typing import Any, List, Mapping, Optional

import pytest

from reconciler.core.kinds import find_row
from reconciler.core.plan import Action
from reconciler.core.world import GuestState
from reconciler.errors import TransientError
from reconciler.kinds.machine.planning import machine_copies

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


def anew(source: Mapping[str, Any], **specs: Mapping[str, Any]) -> FakeServices:
    """Return services for `web01`, which is not there, and other machines."""
    return FakeServices(manifests(web01=source, **specs))


def test_a_machine_that_is_not_there_is_created_first_and_cloned_by_the_same_apply() -> None:
    spec = {"disks": [{"name": "root", "size": "4GiB", "source": {"clone": {"machine": "web01"}}}]}
    services = anew(OWN, aa02=spec)
    said = "full clone of machine web01 (created first), disk root, as default/aa02-root.qcow2"
    assert said in plan(services)
    result = call(services, "apply", "--yes", "p")
    assert (result.status, result.err) == (0, "")
    writes = [write for write in services.host.writes if "root.qcow2" in write]
    assert writes[0] == "create_volume default/web01-root.qcow2"
    assert "create_volume default/aa02-root.qcow2" in writes
    assert services.host.pools["default"].volumes["aa02-root.qcow2"].capacity == 4 * 2**30
    assert call(services, "plan", "--detailed-exitcode", "p").status == 0


def test_a_chain_of_clones_is_made_by_one_apply() -> None:
    services = anew(
        OWN, bb02=clone_of({"machine": "web01"}), aa03=clone_of({"machine": "bb02"}), zz04={}
    )
    assert call(services, "apply", "--yes", "p").status == 0
    made = [write for write in services.host.writes if "create_volume" in write]
    assert made.index("create_volume default/bb02-root.qcow2") < made.index(
        "create_volume default/aa03-root.qcow2"
    )
    assert call(services, "plan", "--detailed-exitcode", "p").status == 0


def test_a_machine_is_planned_once_for_all_its_disks(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["web01", "web02", "web03", "web04"]
    cloned = {
        name: {
            "disks": [
                {"name": disk, "source": {"clone": {"machine": former}}}
                for disk in ("root", "data")
            ]
        }
        for former, name in zip(names, names[1:])
    }
    services = anew(OWN, **cloned)
    planned: List[str] = []
    monkeypatch.setattr(machine_copies, "find_row", lambda kind: CountedRow(kind, planned))
    said = plan(services)
    assert said.count("(created first)") == 6
    # One of web04 plans each of the three, one of web03 the two before it, one of web02 web01.
    assert 0 < planned.count("web01") <= 3 * planned.count("web03")


class CountedRow:
    """The row of a kind, which notes what is planned."""

    def __init__(self, kind: str, planned: List[str]) -> None:
        self._row, self._planned = find_row(kind), planned

    def plan(self, manifest: Any, *rest: Any) -> Action:
        """Plan it."""
        self._planned.append(manifest.name)
        return self._row.plan(manifest, *rest)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ({**OWN, "power": "running"}, "created and started by this plan, and would be copied while"),
        ({**OWN, "interfaces": [{"name": "lan", "network": "no"}]}, "is not there, and cannot be created now: interfaces[lan].network: no"),
        ({**OWN, "placement": {"host": "kvm02"}}, "no machine 'web01' on this host"),
        ({"disks": [{"name": "a", "size": "1GiB"}, {"name": "b", "size": "1GiB"}]}, "no disk 'root'"),
    ],
    ids=["running", "unplanned", "elsewhere", "no-disk"],
)  # fmt: skip
def test_what_is_not_there_and_cannot_be_cloned_in_one_apply_says_why(
    source: Mapping[str, Any], words: str
) -> None:
    spec = clone_of({"machine": "web01"}, placement={"host": "kvm01"})
    services = anew(source, web02=spec)
    assert words in plan(services)
    assert call(services, "apply", "--yes", "p").status == 1
    assert "web02" not in services.host.domains.list_domains()


def test_a_clone_is_not_begun_where_its_origin_could_not_be_created() -> None:
    services = anew(OWN, web02=clone_of({"machine": "web01"}))
    services.host.failures["create_volume default/web01-root.qcow2"] = TransientError("no space")
    result = call(services, "apply", "--yes", "p")
    assert (
        result.status,
        "web02: not begun: web01, which a disk is cloned from" in result.err,
    ) == (
        1,
        True,
    )
    assert "web02" not in services.host.domains.list_domains()


def test_a_machine_that_went_away_meanwhile_is_not_cloned() -> None:
    services = beside(clone_of({"machine": "web01"}))

    def lose(made: str) -> None:
        if made == "define web02" and "web01" in services.host.views:
            del services.host.views["web01"]

    services.host.watch = lose
    result = call(services, "apply", "--yes", "p")
    assert "web01, which is cloned, is not there; apply again; everything was put" in result.err
    assert "web02" not in services.host.domains.list_domains()


def test_a_smaller_clone_of_what_is_not_there_is_refused() -> None:
    spec = {"disks": [{"name": "root", "size": "1MiB", "source": {"clone": {"machine": "web01"}}}]}
    assert "1MiB is smaller than" in plan(anew(OWN, web02=spec))


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
