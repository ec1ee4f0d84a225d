"""A Windows clone's identity, from the manifest to the CD-ROM's removal, on a host in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional

import pytest
from lxml import etree

from reconciler.core.answer_file import ANSWER_FILE
from reconciler.core.cloud_init import fill_files
from reconciler.core.names import NAMED, name_seed_field
from reconciler.core.secret_refs import SecretRef, SecretSource
from reconciler.core.time_zones import find_place, find_windows_zone
from reconciler.core.xmltree import parse
from reconciler.errors import TransientError
from tests.unit.cli.fakes import call
from tests.unit.cli.test_first_boot import MINUTE, ROOT, World
from tests.unit.manifests.documents import complaints, machine, template

PATH, SECOND = "/images/vm1-unattend.iso", "/images/vm1-unattend-2.iso"
GOLDEN = Path(__file__).with_name("unattend.xml")
SECRETS = {
    SecretRef(SecretSource.FILE, "/etc/admin"): 'w9Kx"4<&>',
    SecretRef(SecretSource.FILE, "/etc/key"): "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE",
    SecretRef(SecretSource.FILE, "/etc/joiner"): "q7Zr2vX1",
}
EVERYTHING: Mapping[str, Any] = {
    "computerName": "Web01",
    "timeZone": "Europe/Berlin",
    "locale": "de-DE",
    "language": "en-US",
    "administratorPassword": {"secretRef": {"file": "/etc/admin"}},
    "productKey": {"secretRef": {"file": "/etc/key"}},
    "join": {
        "domain": "example.com",
        "username": "joiner",
        "password": {"secretRef": {"file": "/etc/joiner"}},
        "unit": "OU=Servers,DC=example,DC=com",
    },
    "firstLogonCommands": ["cmd /c echo <a> & echo b", "powershell -File C:\\setup.ps1"],
    "autoLogon": True,
}
BASE: Mapping[str, Any] = {"volume": "base.qcow2", "os": "win2k16", "generalized": "sysprep"}
CLONE: Mapping[str, Any] = {
    "os": "win2k16",
    "disks": [{"name": "root", "source": {"template": "base"}}],
}
SPACES = {"u": "urn:schemas-microsoft-com:unattend"}


class Clone(World):
    """One machine with an identity, and what a person asks of it."""

    def __init__(self, windows: Mapping[str, Any] = EVERYTHING, **spec: Any) -> None:
        super().__init__(os="win2k16", windows=dict(windows), **spec)
        self.host.secrets.texts.update(SECRETS)

    def name(self, windows: Mapping[str, Any], **spec: Any) -> None:
        """Write the manifest with another identity."""
        self.say(os="win2k16", windows=dict(windows), **spec)

    @property
    def answers(self) -> str:
        """The answer file that the guest gets."""
        return self.host.seeds[self.mark.path][ANSWER_FILE]

    @property
    def images(self) -> List[str]:
        """The volumes with answer files."""
        return [name for name in self.host.pools["default"].volumes if name.endswith(".iso")]


def make(windows: Mapping[str, Any] = EVERYTHING, **spec: Any) -> Clone:
    """Return a machine that was made with an identity."""
    world = Clone(windows, **spec)
    world.apply()
    return world


@pytest.fixture
def world() -> Clone:
    """Return a machine whose guest sets itself up."""
    return make()


def find(text: str, path: str) -> Optional[str]:
    """Return the text of an element of an answer file."""
    steps = "/".join(f"u:{step}" for step in path.split("/"))
    return etree.fromstring(text.encode()).findtext(f".//{steps}", namespaces=SPACES)


def test_the_answer_file_is_as_microsoft_publishes_it(world: Clone) -> None:
    assert world.answers == GOLDEN.read_text(encoding="utf-8")
    root = etree.fromstring(world.answers.encode())
    passes = {
        settings.get("pass"): [component.get("name") for component in settings]
        for settings in root.iterfind("u:settings", SPACES)
    }
    assert passes == {
        "specialize": ["Microsoft-Windows-Shell-Setup", "Microsoft-Windows-UnattendedJoin"],
        "oobeSystem": ["Microsoft-Windows-International-Core", "Microsoft-Windows-Shell-Setup"],
    }
    for component in root.iterfind("u:settings/u:component", SPACES):
        identity = dict(component.items())
        del identity["name"]
        assert identity == {
            "processorArchitecture": "amd64",
            "publicKeyToken": "31bf3856ad364e35",
            "language": "neutral",
            "versionScope": "nonSxS",
        }


def test_the_drive_is_on_a_bus_for_which_windows_has_a_driver(world: Clone) -> None:
    assert world.drives() == world.drives("live_xml") == [PATH]
    root: Any = parse(world.host.views["vm1"].persistent_xml)
    assert root.xpath("devices/disk[@device='cdrom']/target/@bus") == ["sata"]


def test_little_is_enough() -> None:
    world = make({})
    assert find(world.answers, "ComputerName") == "vm1"
    assert "Password" not in world.answers
    assert "International" not in world.answers
    assert "UnattendedJoin" not in world.answers
    other = make({"join": {"workgroup": "LAB"}, "architecture": "arm64"})
    assert find(other.answers, "Identification/JoinWorkgroup") == "LAB"
    assert 'processorArchitecture="arm64"' in other.answers


def test_secrets_are_on_the_medium_alone(world: Clone) -> None:
    texts = [world.host.views["vm1"].persistent_xml, world.host.views["vm1"].live_xml or ""]
    for words in (
        ("plan", "p"),
        ("plan", "--format", "json", "p"),
        ("plan", "--format", "markdown", "p"),
        ("apply", "--yes", "p"),
        ("status",),
        ("status", "--format", "json"),
        ("export", "vm1"),
        ("history", "vm1"),
        ("history", "vm1", "--format", "json"),
        ("snapshot",),
        ("validate", "p"),
    ):
        done = call(world.services, *words)
        texts += [done.out, done.err]
    world.name({**EVERYTHING, "computerName": "other"})
    texts.append(world.apply())
    assert not [text for text in texts for secret in SECRETS.values() if secret in text]
    assert all(find(world.answers, path) for path in ("ProductKey", "AdministratorPassword/Value"))
    assert find(world.answers, "Credentials/Password") == "q7Zr2vX1"


def test_plan_that_waits_for_a_secret_says_so() -> None:
    world = Clone()
    del world.host.secrets.texts[SecretRef(SecretSource.FILE, "/etc/joiner")]
    [note] = world.notes
    assert "nothing is created until its secret can be read: file /etc/joiner" in note
    world.apply(status=1)
    assert world.images == []


def test_a_control_character_is_refused() -> None:
    files = ((ANSWER_FILE, '<?xml version="1.0"?>\n<a>${secretRef:file:/a}</a>'),)
    with pytest.raises(TransientError, match="file /a: has a control character"):
        fill_files(files, lambda _ref: "a\x01b")


def test_the_medium_goes_when_windows_is_set_up(world: Clone) -> None:
    assert world.notes[0].startswith("windows: the seed is removed when the first boot is over")
    assert "windows: the seed is removed" in call(world.services, "status", "--format", "json").out
    world.host.finished_boots.add(("vm1", f"{NAMED}Web01"))
    assert world.changes == [("windows", "live")]
    assert "Windows is set up" in world.apply()
    assert world.images == []
    assert (world.mark.path, world.drives("live_xml")) == ("", [""])


def test_the_medium_goes_after_a_time(world: Clone) -> None:
    world.clock.sleep(119 * MINUTE)
    assert world.changes == []
    world.clock.sleep(2 * MINUTE)
    assert world.changes == [("windows", "live")]
    world.apply()
    assert world.images == []


def test_a_change_before_the_first_start_is_given_to_the_guest() -> None:
    world = make(power="stopped")
    world.name({"computerName": "WEB02"}, power="stopped")
    assert world.changes == [("windows", "offline")]
    world.apply()
    assert (world.drives(), world.images) == ([SECOND], ["vm1-unattend-2.iso"])
    assert find(world.answers, "ComputerName") == "WEB02"


def test_a_change_after_the_first_boot_is_a_note(world: Clone) -> None:
    world.host.finished_boots.add(("vm1", f"{NAMED}Web01"))
    world.apply()
    world.name({**EVERYTHING, "timeZone": "UTC"})
    world.apply()
    assert world.notes[-1].startswith("windows changed since the guest got its answer file")
    assert world.mark.count == 1


def test_a_machine_that_was_there_before_is_given_nothing() -> None:
    world = Clone()
    world.say(os="win2k16")
    world.apply()
    world.name(EVERYTHING)
    world.apply()
    assert world.images == []
    assert "this machine was made without it" in world.notes[0]


def read_seed(windows: Mapping[str, Any], **given: Any) -> Dict[str, str]:
    """Return what a Windows with cloudbase-init is given, by its files."""
    from reconciler.adapters.manifests.reader import load_files  # noqa: PLC0415
    from reconciler.core.manifest_files import ManifestFile  # noqa: PLC0415
    from reconciler.kinds.machine.planning.seed_contents import (  # noqa: PLC0415
        find_given,
        render_given,
    )

    texts = [
        machine("vm1", **{**CLONE, "windows": windows, **given}),
        template("base", **{**BASE, "cloudbase": True}),
    ]
    loaded = load_files([ManifestFile("a.yaml", "\n---\n".join(texts).encode())])
    assert loaded.problems == ()
    [vm1] = loaded.desired.machines
    found = find_given(vm1, loaded.desired)
    assert found is not None
    seed = render_given(vm1, found, 1)
    return dict(fill_files(seed.files, lambda ref: SECRETS[ref]))


def test_cloudbase_init_is_given_the_same_by_nocloud() -> None:
    given = {
        "timeZone": "W. Europe Standard Time",
        "administratorPassword": EVERYTHING["administratorPassword"],
        "firstLogonCommands": ["cmd /c a"],
    }
    files = read_seed(given, cloudInit={"userData": {"write_files": []}})
    meta = json.loads(files["meta-data"])
    assert meta.pop("instance-id").startswith("vm1-")
    assert meta == {
        "local-hostname": "vm1",
        "admin-username": "Administrator",
        "admin-password": 'w9Kx"4<&>',
    }
    head, body = files["user-data"].split("\n", 1)
    assert head == "#cloud-config"
    assert json.loads(body) == {
        "set_timezone": "Europe/Berlin",
        "runcmd": ["cmd /c a"],
        "write_files": [],
    }
    assert ANSWER_FILE not in files


@pytest.mark.parametrize(
    ("spec", "path", "words"),
    [
        ({"windows": {"computerName": "a" * 16}}, "computerName", "at most 15 letters"),
        ({"windows": {"computerName": "12345"}}, "computerName", "not only digits"),
        ({"windows": {"timeZone": "Europe/Berlni"}}, "timeZone", "nearest: Europe/Berlin"),
        ({"windows": {"language": "de-DE"}}, "language", "has no effect without locale"),
        ({"windows": {"autoLogon": True}}, "autoLogon", "requires administratorPassword"),
        ({"windows": {"removeAfter": "30s"}}, "removeAfter", "not within 1m to 168h"),
        ({"windows": {"administratorPassword": "hunter2"}}, "administratorPassword", "secretRef"),
        ({"windows": {"productKey": "A-B"}}, "productKey", "secretRef"),
        ({"windows": {"join": {"domain": "a"}}}, "join", "give domain with username and password"),
        ({"windows": {"onChange": "rerun"}}, "onChange", "create the machine anew"),
        ({"windows": {}, "os": "debian12"}, "", "debian12 is not Windows"),
        ({"windows": {}, "cloudInit": {}}, "", "set cloudbase: true in its Template"),
        ({"windows": {}, "ignition": {"config": {"ignition": {"version": "3.4.0"}}}}, "", "one of"),
    ],
)
def test_what_windows_would_not_take_is_refused(
    tmp_path: Path, spec: Mapping[str, Any], path: str, words: str
) -> None:
    found = complaints(tmp_path, machine("web", **{"os": "win2k16", "disks": [ROOT], **spec}))
    at = f"spec.windows.{path}".rstrip(".")
    assert [message for place, message in found if place == at and words in message], found


def test_a_name_that_is_too_long_asks_for_another(tmp_path: Path) -> None:
    [(path, message)] = complaints(tmp_path, machine("a-name-of-sixteen", windows={}))
    assert path == "spec.windows"
    assert "give computerName" in message


def test_two_machines_have_no_name_in_common(tmp_path: Path) -> None:
    found = complaints(
        tmp_path,
        machine("web01", windows={}),
        machine("other", windows={"computerName": "WEB01"}),
    )
    assert [message.partition(" at ")[0] for _, message in found][:1] == [
        "computer name WEB01 is already used"
    ]


@pytest.mark.parametrize(
    ("windows", "words"),
    [
        ({"locale": "de-DE"}, "cloudbase-init does not set it"),
        ({"join": {"workgroup": "LAB"}}, "by a script in cloudInit.userData"),
    ],
)
def test_what_cloudbase_init_cannot_do_is_refused(
    tmp_path: Path, windows: Mapping[str, Any], words: str
) -> None:
    base = template("base", **{**BASE, "cloudbase": True})
    [(_, message)] = complaints(tmp_path, machine("web", **CLONE, windows=windows), base)
    assert words in message
    assert complaints(tmp_path, machine("web", **CLONE, windows={}, cloudInit={}), base) == []


def test_cloudbase_init_is_for_windows(tmp_path: Path) -> None:
    [(path, message)] = complaints(
        tmp_path, template("base", volume="a", os="debian12", cloudbase=True)
    )
    assert (path, message) == ("spec.cloudbase", "debian12 is not Windows; remove it")


def test_time_zones_are_known_by_both_names() -> None:
    assert find_windows_zone("Europe/Berlin") == "W. Europe Standard Time"
    assert find_windows_zone("W. Europe Standard Time") == "W. Europe Standard Time"
    assert find_windows_zone("Mars/Olympus") is None
    assert find_place("Tokyo Standard Time") == "Asia/Tokyo"


def test_volumes_tell_what_they_are_of() -> None:
    assert name_seed_field("a-unattend.iso") == name_seed_field("a-unattend-12.iso") == "windows"
    assert name_seed_field("a-unattend-seed.iso") == "cloudInit"
