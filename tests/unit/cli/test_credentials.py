"""systemd credentials, from the manifest into the domain and out of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, List, Mapping, Tuple

import pytest

from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.read import read_machine
from tests.unit.cli.fakes import FakeServices, call, manifests
from tests.unit.manifests.documents import complaints, machine

ZONE = {"firstboot.timezone": "UTC"}


def serve(**spec: Any) -> FakeServices:
    """Return services with one machine."""
    return FakeServices(manifests(vm1=spec))


def say(services: FakeServices, **spec: Any) -> None:
    """Write the manifest anew."""
    services.files = manifests(vm1=spec)


def apply(services: FakeServices, status: int = 0) -> str:
    """Apply the manifest, and hold that nothing is left to do then."""
    done = call(services, "apply", "--yes", "p")
    assert done.status == status, done.out + done.err
    if not status:
        assert not find_changes(services)
    return done.out + done.err


def find_changes(services: FakeServices) -> List[Tuple[str, Any, Any, str]]:
    """Return the lines of the plan."""
    done = call(services, "plan", "--format", "json", "p")
    [resource] = json.loads(done.out)["resources"]
    return [
        (change["path"], change["observed"], change["desired"], change["effect"])
        for change in resource["changes"]
    ]


def entries(services: FakeServices) -> List[str]:
    """Return the OEM strings in the stored definition."""
    root: Any = parse(services.host.views["vm1"].persistent_xml)
    return [entry.text for entry in root.xpath("sysinfo/oemStrings/entry")]


def change_xml(services: FakeServices, before: str, after: str) -> None:
    """Edit the stored definition of the machine, as another tool does."""
    xml = services.host.views["vm1"].persistent_xml
    assert before in xml
    services.host.change("vm1", persistent_xml=xml.replace(before, after))


def test_a_new_machine_has_its_credentials() -> None:
    services = serve(credentials={**ZONE, "login.issue": "Hello,\nworld"})
    apply(services)
    assert entries(services) == [
        "io.systemd.credential:firstboot.timezone=UTC",
        "io.systemd.credential.binary:login.issue=SGVsbG8sCndvcmxk",
    ]
    assert "<smbios mode='sysinfo'/>" in services.host.views["vm1"].persistent_xml


def test_a_change_waits_for_the_next_start_and_names_what_changes() -> None:
    services = serve(power="running", credentials=ZONE)
    apply(services)
    say(services, power="running", credentials={"firstboot.timezone": "CET", "login.issue": "x"})
    [change] = find_changes(services)
    assert change == (
        "credentials",
        "firstboot.timezone",
        "firstboot.timezone (changed), login.issue",
        "next-boot",
    )
    done = call(services, "apply", "--yes", "p")
    assert done.status == 0, done.err
    assert len(entries(services)) == 2


def test_what_other_tools_show_the_guest_stays() -> None:
    services = serve()
    apply(services)
    theirs = (
        "<sysinfo type='smbios'><system><entry name='serial'>A-1</entry></system>"
        "<oemStrings><entry>theirs:1</entry></oemStrings></sysinfo>"
        "<sysinfo type='fwcfg'><entry name='opt/x'>y</entry></sysinfo><os><smbios mode='sysinfo'/>"
    )
    change_xml(services, "<os>", theirs)
    say(services, credentials=ZONE)
    apply(services)
    assert entries(services) == ["theirs:1", "io.systemd.credential:firstboot.timezone=UTC"]
    say(services, credentials={})
    apply(services)
    assert entries(services) == ["theirs:1"]
    xml = services.host.views["vm1"].persistent_xml
    assert "A-1" in xml
    assert "opt/x" in xml


def test_none_leaves_the_domain_as_if_there_had_never_been_any() -> None:
    services = serve()
    apply(services)
    before = services.host.views["vm1"].persistent_xml.partition("<os>")[2]
    say(services, credentials=ZONE)
    apply(services)
    say(services, credentials={})
    apply(services)
    after = services.host.views["vm1"].persistent_xml
    assert after.partition("<os>")[2] == before
    assert "sysinfo" not in after


def test_credentials_that_the_manifest_does_not_mention_are_left_alone() -> None:
    services = serve(credentials=ZONE)
    apply(services)
    say(services)
    call(services, "apply", "--yes", "p")
    assert entries(services) == ["io.systemd.credential:firstboot.timezone=UTC"]


def test_a_credential_that_someone_else_set_is_not_shown() -> None:
    services = serve(credentials=ZONE)
    apply(services)
    theirs = "<entry>io.systemd.credential:passwd.plaintext-password.root=geheim7x</entry>"
    change_xml(services, "</oemStrings>", f"{theirs}</oemStrings>")
    for format_ in ("text", "json", "markdown"):
        shown = call(services, "plan", "-v", "--format", format_, "p")
        assert "passwd.plaintext-password.root" in shown.out
        assert "geheim7x" not in shown.out + shown.err
    assert "geheim7x" not in call(services, "export", "vm1").out


def test_the_host_s_own_smbios_is_not_taken_away() -> None:
    services = serve()
    apply(services)
    change_xml(services, "<os>", "<os><smbios mode='host'/>")
    say(services, credentials=ZONE)
    done = call(services, "plan", "p")
    assert "the guest is shown the host's SMBIOS" in done.out + done.err


def test_what_qemu_does_not_show_is_not_there() -> None:
    xml = (
        "<domain><sysinfo type='smbios'><oemStrings><entry>io.systemd.credential:a=b</entry>"
        "</oemStrings></sysinfo><os>{}</os></domain>"
    )
    found = [read_machine(parse(xml.format(mode))).credentials for mode in (
        "<smbios mode='sysinfo'/>", "<smbios mode='emulate'/>", ""
    )]  # fmt: skip
    assert found == ['{"a": "b"}', "{}", "{}"]


def test_a_recorded_host_does_not_differ_for_what_it_hides(tmp_path: Path) -> None:
    services = serve(credentials={**ZONE, "login.issue": "a\nb"})
    apply(services)
    recorded = call(services, "snapshot").out
    path = tmp_path / "host.json"
    path.write_text(recorded, encoding="utf-8")
    done = call(services, "plan", "--against", str(path), "--detailed-exitcode", "p")
    assert done.status == 0, done.out + done.err


WRONG = [
    pytest.param({"a b": "x"}, "spec.credentials.a b", "write the name of a credential", id="name"),
    pytest.param({"a": 1}, "spec.credentials.a", "write it in quotes", id="number"),
    pytest.param(
        {"a": {"secretRef": {"file": "/x"}}}, "spec.credentials.a", "use cloudInit", id="secret"
    ),
    pytest.param(
        {"passwd.hashed-password.root": "$6$salt$hash"},
        "spec.credentials.passwd.hashed-password.root",
        "everyone on the host can read credentials",
        id="password",
    ),
    pytest.param({"a": "x" * 40000}, "spec.credentials", "more than 32KiB", id="long"),
]


@pytest.mark.parametrize(("given", "path", "message"), WRONG)
def test_what_is_no_credential_is_refused(
    tmp_path: Path, given: Mapping[str, Any], path: str, message: str
) -> None:
    [found] = complaints(tmp_path, machine("web", cpus=1, credentials=given))
    assert found[0] == path
    assert message in found[1]


def test_a_fragment_that_sets_one_more_is_refused(tmp_path: Path) -> None:
    fragment = {
        "xpath": "/domain/sysinfo[@type='smbios']/oemStrings",
        "fragment": "<entry>io.systemd.credential:motd=hello</entry>",
    }
    text = machine("web", cpus=1, credentials=ZONE, xml=[fragment])
    assert (
        "spec.xml[0].fragment",
        "sets a systemd credential; credentials has to list all of them",
    ) in complaints(tmp_path, text)
