"""What the files of a seed say, and what of `cloudInit` is refused before one is made."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Dict, Mapping

import pytest
import yaml

from reconciler.adapters.libvirt.connections import Connections
from reconciler.adapters.libvirt.iso_images import make_image
from reconciler.adapters.libvirt.storage import LibvirtStorage
from reconciler.adapters.manifests import schema_errors
from reconciler.core.cloud_init import CloudInit, Seed, fill_files, merge, render_seed
from reconciler.core.manifest import MachineManifest
from reconciler.core.names import derive_mac
from reconciler.core.plan import CreateSeed
from reconciler.errors import MissingError
from tests.unit.cli.fakes import FakeServices, call, manifest
from tests.unit.manifests.documents import complaints, load, machine

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHX0 admin@example.com"
LAN = {"name": "lan", "network": "default"}


def render(folder: Path, *interfaces: Mapping[str, Any], **given: Any) -> Mapping[str, Any]:
    """Return the files of a machine's seed, each as data where it is YAML."""
    text = machine("web", cpus=1, memory="1GiB", interfaces=list(interfaces), cloudInit=given)
    [manifest] = load(folder, text).desired.machines
    return {name: yaml.safe_load(text) for name, text in seed_of(manifest).files}


def seed_of(manifest: MachineManifest, count: int = 1) -> Seed:
    assert manifest.cloud_init is not None
    cards = manifest.machine.interfaces or ()
    return render_seed(manifest.cloud_init, manifest.name, cards, count)


def test_short_forms_are_cloud_config(tmp_path: Path) -> None:
    user = {"name": "deploy", "sshKeys": [KEY], "groups": ["adm"], "sudo": True, "shell": "/bin/sh"}
    files = render(tmp_path, hostname="web01.example.com", sshKeys=[KEY], users=[user])
    assert files["user-data"] == {
        "ssh_authorized_keys": [KEY],
        "users": [
            "default",
            {
                "name": "deploy",
                "ssh_authorized_keys": [KEY],
                "groups": ["adm"],
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "shell": "/bin/sh",
            },
        ],
    }
    assert files["meta-data"]["local-hostname"] == "web01.example.com"
    assert files["vendor-data"] == {"manual_cache_clean": True}
    assert "network-config" not in files


def test_the_host_name_is_the_machines_where_that_is_one() -> None:
    named = dict(render_seed(CloudInit(), "web01", (), 1).files)
    odd = dict(render_seed(CloudInit(), "my machine", (), 1).files)
    assert json.loads(named["meta-data"])["local-hostname"] == "web01"
    assert "local-hostname" not in json.loads(odd["meta-data"])


def test_user_data_counts_more_than_short_forms(tmp_path: Path) -> None:
    given = {"ssh_authorized_keys": ["ssh-rsa other"], "packages": ["nginx"]}
    files = render(tmp_path, sshKeys=[KEY], users=[{"name": "a"}], userData=given)
    assert files["user-data"]["ssh_authorized_keys"] == ["ssh-rsa other"]
    assert files["user-data"]["packages"] == ["nginx"]
    assert files["user-data"]["users"] == ["default", {"name": "a"}]


def test_mappings_are_merged_key_by_key_and_lists_are_not() -> None:
    base: Dict[str, Any] = {"a": {"b": 1, "c": [1]}, "d": 1, "e": {"f": 1}}
    over: Dict[str, Any] = {"a": {"c": [2], "g": 3}, "e": 2}
    assert merge(base, over) == {"a": {"b": 1, "c": [2], "g": 3}, "d": 1, "e": 2}
    assert base == {"a": {"b": 1, "c": [1]}, "d": 1, "e": {"f": 1}}


def test_under_user_data_that_is_text_the_short_forms_are_vendor_data(tmp_path: Path) -> None:
    text = "#!/bin/sh\necho hello\n"
    loaded = load(tmp_path, machine("web", cpus=1, cloudInit={"sshKeys": [KEY], "userData": text}))
    files = dict(seed_of(loaded.desired.machines[0]).files)
    assert files["user-data"] == text
    assert yaml.safe_load(files["vendor-data"]) == {
        "manual_cache_clean": True,
        "ssh_authorized_keys": [KEY],
    }


def test_vendor_data_keep_the_guest_the_same_instance(tmp_path: Path) -> None:
    files = render(tmp_path, vendorData={"timezone": "UTC", "manual_cache_clean": False})
    assert files["vendor-data"] == {"timezone": "UTC", "manual_cache_clean": True}
    parts = render(tmp_path, vendorData="#!/bin/sh\ntrue\n")["vendor-data"]
    assert [part["content"].partition("\n")[0] for part in parts] == ["#!/bin/sh", "#cloud-config"]


def test_static_addresses_are_matched_by_mac(tmp_path: Path) -> None:
    card = {
        **LAN,
        "addresses": ["192.0.2.10/24", "2001:db8::10/64"],
        "gateways": ["192.0.2.1", "2001:db8::1"],
        "nameservers": ["192.0.2.53"],
    }
    other = {"name": "other", "network": "default", "mac": "52:54:00:AA:BB:CC"}
    files = render(tmp_path, card, other)
    assert files["network-config"] == {
        "version": 2,
        "ethernets": {
            "lan": {
                "match": {"macaddress": derive_mac("web", "lan")},
                "dhcp4": False,
                "addresses": ["192.0.2.10/24", "2001:db8::10/64"],
                "routes": [
                    {"to": "0.0.0.0/0", "via": "192.0.2.1"},
                    {"to": "::/0", "via": "2001:db8::1"},
                ],
                "nameservers": {"addresses": ["192.0.2.53"]},
            },
            "other": {"match": {"macaddress": "52:54:00:aa:bb:cc"}, "dhcp4": True},
        },
    }


def test_a_network_configuration_is_merged_over_the_addresses(tmp_path: Path) -> None:
    given = {"version": 2, "ethernets": {"lan": {"mtu": 9000}}}
    card = {**LAN, "addresses": ["192.0.2.10/24"]}
    for config in (given, {"network": given}):
        lan = render(tmp_path, card, networkConfig=config)["network-config"]["ethernets"]["lan"]
        assert (lan["mtu"], lan["addresses"]) == (9000, ["192.0.2.10/24"])
    assert render(tmp_path, LAN, networkConfig=given)["network-config"] == given


def test_an_instance_has_a_name_of_its_own() -> None:
    first, again = (render_seed(CloudInit(), "web", (), count) for count in (1, 2))
    other = render_seed(CloudInit(hostname="x"), "web", (), 1)
    assert len({first.instance, again.instance, other.instance}) == 3
    assert first.digest == again.digest != other.digest
    assert "hunter2" not in repr(render_seed(CloudInit(user_data="#!hunter2"), "web", (), 1))


def test_the_same_files_make_the_same_image() -> None:
    files = dict(render_seed(CloudInit(hostname="wéb"), "web", (), 1).files)
    assert make_image(files) == make_image(dict(reversed(list(files.items()))))
    assert make_image(files)[32808:32814] == b"cidata"


WRONG = [
    pytest.param({"userData": "hello"}, "userData", "cloud-init does not read this", id="text"),
    pytest.param(
        {"vendorData": "x: y"}, "vendorData", "begin with the line #cloud-config", id="vendor"
    ),
    pytest.param(
        {"networkConfig": {"version": 1}}, "networkConfig", "set version: 2", id="version 1"
    ),
    pytest.param(
        {"networkConfig": {"network": {}}}, "networkConfig", "set version: 2", id="no version"
    ),
    pytest.param(
        {"metaData": {"instance-id": "a"}}, "metaData.instance-id", "onChange: rerun", id="instance"
    ),
    pytest.param(
        {"users": [{"name": "a"}, {"name": "a"}]}, "users[1].name", "already given", id="twice"
    ),
    pytest.param({"removeAfter": "5s"}, "removeAfter", "not within 1m to 168h", id="too soon"),
    pytest.param({"hostname": "a_b"}, "hostname", "write a host name", id="host name"),
    pytest.param({"sshKeys": ["hunter2"]}, "sshKeys[0]", "write a public key", id="no key"),
    pytest.param({"users": [{"name": "Root!"}]}, "users[0].name", "write a login name", id="user"),
    pytest.param({"onChange": "recreate"}, "onChange", "not one of keep, rerun", id="recreate"),
]


@pytest.mark.parametrize(("given", "path", "message"), WRONG)
def test_what_cloud_init_would_not_do_is_refused(
    tmp_path: Path, given: Mapping[str, Any], path: str, message: str
) -> None:
    [found] = complaints(tmp_path, machine("web", cpus=1, cloudInit=given))
    assert found[0] == f"spec.cloudInit.{path}"
    assert message in found[1]


ADDRESSES = [
    pytest.param(
        {"addresses": ["192.0.2.10"]}, "addresses[0]", "with its prefix length", id="no prefix"
    ),
    pytest.param(
        {"addresses": ["192.0.2.300/24"]}, "addresses[0]", "not a valid IP address", id="300"
    ),
    pytest.param(
        {"addresses": ["192.0.2.3/33"]}, "addresses[0]", "not a valid IP address", id="33"
    ),
    pytest.param(
        {"gateways": ["192.0.2.1"]}, "gateways", "no effect without addresses", id="gateway alone"
    ),
    pytest.param(
        {"addresses": ["192.0.2.3/24"], "gateways": ["192.0.2.1", "192.0.2.2"]},
        "gateways",
        "at most one IPv4",
        id="two gateways",
    ),
]


@pytest.mark.parametrize(("given", "path", "message"), ADDRESSES)
def test_addresses_that_cannot_be_are_refused(
    tmp_path: Path, given: Mapping[str, Any], path: str, message: str
) -> None:
    text = machine("web", cpus=1, interfaces=[{**LAN, **given}], cloudInit={})
    [found] = complaints(tmp_path, text)
    assert found[0] == f"spec.interfaces[0].{path}"
    assert message in found[1]


def test_addresses_need_cloud_init(tmp_path: Path) -> None:
    card = {**LAN, "addresses": ["192.0.2.3/24"]}
    [found] = complaints(tmp_path, machine("web", cpus=1, interfaces=[card]))
    assert found[0] == "spec.interfaces[0].addresses"
    assert "add cloudInit: {}" in found[1]


def test_the_name_of_the_seeds_drive_is_taken(tmp_path: Path) -> None:
    text = machine("web", cpus=1, cdroms=[{"name": "cloud-init-seed"}])
    [found] = complaints(tmp_path, text)
    assert found[0] == "spec.cdroms[0].name"
    assert "use another name" in found[1]


SECRET = {"secretRef": {"file": "/etc/virt-reconciler/secrets/web"}}


def test_a_secret_is_read_only_when_the_seed_is_made(tmp_path: Path) -> None:
    users = [{"name": "a", "passwordHash": SECRET}]
    chpasswd = {"chpasswd": {"users": [{"name": "b", "password": SECRET}]}}
    text = machine("web", cpus=1, cloudInit={"users": users, "userData": chpasswd})
    [manifest] = load(tmp_path, text).desired.machines
    files = seed_of(manifest).files
    assert "hunter2" not in repr(files)
    made = dict(fill_files(files, lambda ref: f"hunter2 of {ref.name}"))
    data = yaml.safe_load(made["user-data"])
    said = "hunter2 of /etc/virt-reconciler/secrets/web"
    assert data["users"][1] == {"name": "a", "hashed_passwd": said, "lock_passwd": False}
    assert data["chpasswd"]["users"][0]["password"] == said
    assert made["meta-data"] == dict(files)["meta-data"]


def test_a_secret_is_read_where_the_short_forms_are_vendor_data(tmp_path: Path) -> None:
    users = [{"name": "a", "passwordHash": SECRET}]
    given = {"users": users, "userData": "#!/bin/sh\n", "vendorData": "#!/bin/sh\ntrue\n"}
    [manifest] = load(tmp_path, machine("web", cpus=1, cloudInit=given)).desired.machines
    made = dict(fill_files(seed_of(manifest).files, lambda _: "hunter2"))
    ours = yaml.safe_load(yaml.safe_load(made["vendor-data"])[1]["content"])
    assert list(ours["users"][1].values()) == ["a", "hunter2", False]


def test_a_hash_itself_is_refused_with_what_to_write(tmp_path: Path) -> None:
    users = [{"name": "a", "passwordHash": "$6$salt$hash"}]
    [found] = complaints(tmp_path, machine("web", cpus=1, cloudInit={"users": users}))
    assert found[0] == "spec.cloudInit.users[0].passwordHash"
    assert "write {secretRef: {file: /PATH}}" in found[1]


@pytest.mark.parametrize(
    "given", [{"fil": "/x"}, {"file": 1}, {}, "x", {"file": "/x", "libvirt": "y"}]
)
def test_a_reference_that_names_no_secret_is_refused(tmp_path: Path, given: Any) -> None:
    config = {"chpasswd": {"users": [{"password": {"secretRef": given}}]}}
    [found] = complaints(tmp_path, machine("web", cpus=1, cloudInit={"userData": config}))
    assert found[0] == "spec.cloudInit.userData.chpasswd.users[0].password.secretRef"
    assert "write {secretRef: {file: /PATH}}" in found[1]


@pytest.fixture
def _cloud_schema(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a cloud-init installed that knows `packages` and passwords."""
    folder = tmp_path / "python3.9"
    folder.mkdir()
    text = {"type": "string"}
    known = {"packages": {"type": "array", "items": text}, "password": text}
    schema = {"type": "object", "properties": known, "additionalProperties": False}
    (folder / "schema.json").write_text(json.dumps(schema), encoding="utf-8")
    monkeypatch.setattr(schema_errors, "CLOUD_SCHEMAS", (f"{tmp_path}/python3*/schema.json",))


@pytest.mark.usefixtures("_cloud_schema")
def test_cloud_config_is_held_against_cloud_inits_own_schema(tmp_path: Path) -> None:
    def warnings(config: Any) -> Any:
        loaded = load(tmp_path, machine("web", cpus=1, cloudInit={"userData": config}))
        assert loaded.problems == ()
        assert len(loaded.desired.machines) == 1
        return [(found.path, found.message) for found in loaded.warnings]

    assert warnings({"packages": ["nginx"], "password": SECRET}) == []
    [(path, message)] = warnings({"packages": ["nginx", 1]})
    assert path == "spec.cloudInit.userData.packages[1]"
    assert "cloud-init's schema" in message
    assert "is not of type 'string'" in message
    [(path, message)] = warnings({"pakages": []})
    assert path == "spec.cloudInit.userData"
    assert "pakages" in message


@pytest.mark.usefixtures("_cloud_schema")
def test_cloud_config_as_text_is_held_against_it_too(tmp_path: Path) -> None:
    def warnings(text: str) -> Any:
        loaded = load(tmp_path, machine("web", cpus=1, cloudInit={"vendorData": text}))
        assert loaded.problems == ()
        return [(found.path, found.message) for found in loaded.warnings]

    assert warnings("#cloud-config\npackages: [nginx]\n") == []
    assert warnings("#cloud-config\n") == []
    assert warnings("#cloud-config-archive\n[]\n") == []
    assert warnings("#cloud-config\npackages: yes\n") == [], "yes is true for cloud-init"
    [(path, message)] = warnings("#cloud-config\npackages: [nginx, 1]\n")
    assert path == "spec.cloudInit.vendorData"
    assert message.startswith("packages[1]: cloud-init's schema")


@pytest.mark.usefixtures("_cloud_schema")
def test_validate_prints_what_the_schema_refuses_as_a_warning() -> None:
    spec: Mapping[str, Any] = {"cloudInit": {"userData": {"pakages": []}}}
    services = FakeServices()
    services.files = {"vm1.yaml": manifest("vm1", **spec)}
    done = call(services, "validate", "p")
    assert (done.status, done.out) == (0, "Valid: 1 virtual machine.\n")
    assert "warning: spec.cloudInit.userData: cloud-init's schema" in done.err


TEXTS = [
    pytest.param("a: [1\n", "of the text is not valid YAML", id="syntax"),
    pytest.param("a: 1\na: 2\n", "line 3 of the text is not valid YAML: duplicate", id="twice"),
    pytest.param("- a\n", "is not a mapping; write KEY: VALUE", id="list"),
    pytest.param("packages nginx\n", "is not a mapping", id="word"),
    pytest.param("a: 1\n---\nb: 1\n", "begins another document", id="two"),
]


@pytest.mark.parametrize(("text", "message"), TEXTS)
def test_text_that_is_not_cloud_config_is_refused(tmp_path: Path, text: str, message: str) -> None:
    given = {"userData": f"#cloud-config\n{text}"}
    [found] = complaints(tmp_path, machine("web", cpus=1, cloudInit=given))
    assert found[0] == "spec.cloudInit.userData"
    assert message in found[1]


def test_a_missing_library_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycdlib", None)
    monkeypatch.delitem(sys.modules, "reconciler.adapters.libvirt.iso_images", raising=False)
    storage = LibvirtStorage(Connections("test:///default"))
    step = CreateSeed("default", "web-seed.iso", "/images/web-seed.iso", "", ())
    with pytest.raises(MissingError, match=r"'pycdlib' is needed .* apt install python3-pycdlib"):
        storage.create_seed(step)
