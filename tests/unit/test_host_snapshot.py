"""Snapshots of hosts: read back as written, fitting their schema, without secrets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from reconciler.adapters.recorded import RecordedHost
from reconciler.core.host_snapshot import (
    HostSnapshot,
    hide_desired,
    hide_view,
    read_snapshot,
    write_snapshot,
)
from reconciler.core.machine import Machine, Overlay
from reconciler.core.manifest import Desired, MachineManifest, Place
from reconciler.core.plain_data import from_plain, to_plain
from reconciler.core.secrets import hide_secrets
from reconciler.core.world import (
    DomainView,
    FileKind,
    FileView,
    GuestState,
    MachineCaps,
    PoolView,
    Unknown,
)
from reconciler.errors import NotFoundError, RefusedError, TerminalError, TransientError
from reconciler.kinds.machine.domain.overlays import compare_overlays

SCHEMA = json.loads(
    (Path(__file__).parents[2] / "schemas" / "v1" / "Snapshot.json").read_text("utf-8")
)
XML = "<domain type='kvm'><name>vm</name><devices>{}</devices></domain>"
VNC = XML.format("<graphics type='vnc' passwd='geheim7'/>")
VM = DomainView("vm", "u", GuestState.RUNNING, VNC, VNC)
EMPTY = HostSnapshot("2027-01-15T08:00:00Z", "1.0", "kvm01", "qemu:///system")


@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.builds(HostSnapshot))
def test_it_is_read_as_it_was_written_and_fits_its_schema(snapshot: HostSnapshot) -> None:
    text = write_snapshot(snapshot)
    assert read_snapshot(text, "state") == snapshot
    assert [one.message for one in Draft7Validator(SCHEMA).iter_errors(json.loads(text))] == []


def test_what_a_newer_version_adds_is_left_out() -> None:
    data = json.loads(write_snapshot(EMPTY))
    assert read_snapshot(json.dumps({**data, "more": 1}), "state") == EMPTY


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("takenAt",), 1, "takenAt: 1 does not fit here"),
        (("networks",), {"default": "yes"}, "networks.default: 'yes' does not fit here"),
        (("shared",), [["default"]], r"shared\[0\]: \['default'\] does not fit here"),
        (("domains",), {"vm": {}}, r"domains.vm: .*missing 4 required"),
        (("domains",), {"vm": []}, r"domains.vm: \[\] does not fit here"),
    ],
)
def test_damage_is_told_with_its_path(path: Any, value: Any, words: str) -> None:
    data = json.loads(write_snapshot(EMPTY))
    data[path[0]] = value
    with pytest.raises(RefusedError, match=rf"^state: is damaged: {words}"):
        read_snapshot(json.dumps(data), "state")


@pytest.mark.parametrize("text", ["", "[" * 100_000, '{"virtReconcilerSnapshot": 1,'])
def test_what_is_no_document_is_no_snapshot(text: str) -> None:
    with pytest.raises(
        RefusedError,
        match=r"^state: is not a snapshot: .*; use a file that `virt-reconciler snapshot` wrote$",
    ):
        read_snapshot(text, "state")


def test_a_state_that_is_none_is_damage() -> None:
    text = write_snapshot(replace(EMPTY, domains={"vm": VM})).replace('"running"', '"asleep"')
    with pytest.raises(
        RefusedError, match=r"domains\.vm\.state: 'asleep' is not a valid GuestState"
    ):
        read_snapshot(text, "state")


def test_secrets_of_both_configurations_are_hidden() -> None:
    text = write_snapshot(replace(EMPTY, domains={"vm": hide_view(VM)}))
    assert "geheim7" not in text
    assert text.count("(hidden)") == 2


def test_why_something_is_unknown_is_told_without_secrets() -> None:
    pools = {"iso": Unknown("https://me:geheim7@example.org/ does not answer")}
    text = write_snapshot(replace(EMPTY, pools=pools))
    assert "geheim7" not in text
    assert "example.org" in text


def test_manifests_are_held_against_it_with_the_same_hidden() -> None:
    spec = {"xml": [{"xpath": "/domain/sysinfo", "fragment": "<entry name='opt/x'>a b</entry>"}]}
    overlays = tuple(Overlay(one["xpath"], one["fragment"]) for one in spec["xml"])
    manifest = MachineManifest(
        Machine("vm", overlays=overlays), "g1", json.dumps(spec), Place("vm.yaml", 1, 1)
    )
    stored = "<domain><sysinfo type='fwcfg'><entry name='opt/x'>a b</entry></sysinfo></domain>"
    [hidden] = hide_desired(Desired.of(manifest)).machines
    assert "a b" not in repr(hidden)
    assert compare_overlays(hide_secrets(stored), hidden.machine.overlays) == ()


def test_plain_data_and_back_is_the_same_value() -> None:
    view = replace(VM, disk_sizes={"b": 2, "a": 1})
    plain = to_plain(view)
    assert list(plain["diskSizes"]) == ["a", "b"]
    assert from_plain(DomainView, plain) == view


def test_the_recorded_host_answers_as_the_host_did() -> None:
    some = frozenset({"x"})
    caps = MachineCaps(
        "pc-q35-7.2", "kvm", "x86_64", 8, some, some, some, some, some, some, tpm=True
    )
    host = RecordedHost(
        replace(
            EMPTY,
            domains={"vm": VM, "bad": Unknown("garbled")},
            sizes={"vm": {"/a": 1, "/b": 2}},
            obstacles={"vm": ("snapshot one",)},
            pools={"default": PoolView("default", "dir", "/d"), "gone": Unknown("no answer")},
            machine_types=("q35",),
            machines={"q35": caps},
            shared=frozenset({("default", "/a")}),
            off_reasons={"vm": "saved"},
            inactive_pools=("slow",),
            files={"/a": FileView(FileKind.MISSING)},
        )
    )
    assert host.domains.read_domain("vm") == VM
    with pytest.raises(NotFoundError):
        host.domains.read_domain("none")
    with pytest.raises(TransientError, match="garbled"):
        host.domains.read_domain("bad")
    assert host.domains.read_disk_sizes({"vm": ("/b", "/c"), "x": ("/a",)}) == {"vm": {"/b": 2}}
    assert host.domains.list_snapshots("vm") == ("snapshot one",)
    assert host.domains.read_caps("q35") == caps
    with pytest.raises(TerminalError, match="'pc' is not available on this host; available: q35"):
        host.domains.read_caps("pc")
    pool = host.storage.read_pool("default")
    assert host.storage.can_reflink(pool, "/a")
    assert not host.storage.can_reflink(pool, "/b")
    with pytest.raises(TerminalError, match="no answer"):
        host.storage.read_pool("gone")
    assert host.domains.read_off_reason("vm") == "saved"
    assert host.domains.read_off_reason("bad") == ""
    assert host.storage.list_inactive_pools() == ("slow",)
    assert host.storage.read_files(["/a", "/b"]) == {"/a": FileView(FileKind.MISSING)}


def test_nothing_can_be_written_to_it() -> None:
    host = RecordedHost(EMPTY)
    for driver, name in (
        (host.domains, "define"),
        (host.storage, "delete_volume"),
        (host.units, "change"),
    ):
        with pytest.raises(RefusedError, match=f"a snapshot of kvm01 cannot be changed .{name}."):
            getattr(driver, name)
