"""Secrets by reference, from the manifest to the domain: seen in the domain and nowhere else."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, List, Tuple

import pytest

from reconciler.cli.comparison import compare_without_host
from reconciler.core.names import Owner
from reconciler.core.plan import Effect, PlanOptions
from reconciler.core.secret_refs import SecretRef, SecretSource
from reconciler.core.settings import Settings
from reconciler.core.xmltree import parse
from reconciler.kinds.machine.domain.mark import read_owner, set_owner
from tests.unit.cli.fakes import FakeServices, call, manifests

S = "geheim7x"
OTHER = "anders9y"
PATH = "/etc/virt-reconciler/secrets/vm1"
REF = SecretRef(SecretSource.FILE, PATH)
NAMED = {"secretRef": {"file": PATH}}
DISPLAY: Dict[str, Any] = {"power": "running", "graphics": "vnc", "graphicsPassword": NAMED}
QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
FRAGMENT: Dict[str, Any] = {
    "xml": [
        {
            "xpath": "/domain/devices",
            "fragment": "<graphics type='spice' autoport='yes' passwd='${token}'/>",
            "secrets": {"token": NAMED},
        }
    ]
}
FORMATS = ("text", "json", "markdown", "html")


def serve(secret: str = S, **spec: Any) -> FakeServices:
    """Return services with one machine, whose host has the secret."""
    services = FakeServices(manifests(vm1=spec))
    services.host.secrets.texts[REF] = secret
    return services


def apply(services: FakeServices) -> str:
    """Apply the manifests, and return all that was printed."""
    done = call(services, "-v", "apply", "--yes", "p")
    assert done.status == 0, done.err
    return done.out + done.err


def plan(services: FakeServices, *options: str) -> str:
    """Return the plan and what was printed beside it."""
    done = call(services, "plan", *options, "p")
    assert done.status == 0, done.err
    return done.out + done.err


def xmls(services: FakeServices) -> Tuple[str, str]:
    """Return the stored and the running definition."""
    view = services.host.views["vm1"]
    return view.persistent_xml, view.live_xml or ""


def marks(services: FakeServices) -> List[Owner]:
    """Return the marks in the stored and the running definition."""
    found = [read_owner(parse(xml)) for xml in xmls(services)]
    return [mark for mark in found if mark is not None]


@pytest.mark.parametrize("spec", [DISPLAY, FRAGMENT], ids=["display", "fragment"])
def test_the_secret_is_in_the_domain_and_nowhere_else(spec: Dict[str, Any], tmp_path: Path) -> None:
    services = serve(**spec)
    shown = "".join(plan(services, "--format", name) for name in FORMATS)
    shown += plan(services, "--out", str(tmp_path / "plan"))
    shown += (tmp_path / "plan").read_text(encoding="utf-8") + apply(services)
    assert S in xmls(services)[0]
    assert "secretRef:" not in xmls(services)[0]
    shown += plan(services) + call(services, "snapshot").out
    shown += call(services, "export", "vm1").out + call(services, "history", "vm1").out
    shown += repr(services.history.entries) + repr(services.history.last)
    owner = read_owner(parse(xmls(services)[0]))
    assert S not in shown + repr(owner)
    assert PATH in repr(owner)
    assert plan(services).endswith("0 withheld.\n")
    assert "No changes" in plan(services)


def test_a_changed_secret_is_one_change_under_the_running_guest() -> None:
    services = serve(**DISPLAY)
    apply(services)
    services.host.secrets.texts[REF] = OTHER
    shown = plan(services)
    assert f"graphicsPassword: (hidden) → file {PATH}" in shown
    assert "Plan: 0 to create, 1 to change (0 next-boot, 0 restart)" in shown
    services.host.writes.clear()
    shown += apply(services)
    assert services.host.writes == ["define vm1", "update vm1", "set_metadata vm1"]
    assert all(OTHER in xml and S not in xml for xml in xmls(services))
    assert OTHER not in shown
    assert "No changes" in plan(services)


def test_a_plan_says_whether_the_secret_was_changed_or_the_domain() -> None:
    services = serve(**DISPLAY)
    apply(services)
    services.host.secrets.texts[REF] = OTHER
    assert "the secret was changed" in plan(services)
    services.host.secrets.texts[REF] = S
    stored, live = (xml.replace(S, "virsh") for xml in xmls(services))
    services.host.change("vm1", persistent_xml=stored, live_xml=live)
    assert "someone changed it in the domain" in plan(services)


def test_the_mark_has_a_digest_that_is_useless_without_the_key_of_the_host() -> None:
    services = serve(**DISPLAY)
    apply(services)
    [(name, digest)] = marks(services)[0].secrets
    assert name == f"file {PATH}"
    assert hashlib.blake2b(S.encode(), digest_size=16).hexdigest() != digest
    assert hashlib.blake2b(S.encode(), key=b"key", digest_size=16).hexdigest() == digest
    assert marks(services)[0] == marks(services)[1]


def test_who_has_no_key_compares_with_the_domain_and_leaves_the_mark() -> None:
    services = serve(**DISPLAY)
    apply(services)
    before = marks(services)
    services.host.secrets.key = None
    assert "No changes" in plan(services)
    services.files = manifests(vm1={**DISPLAY, "autostart": True})
    apply(services)
    assert marks(services)[0].secrets == before[0].secrets
    services.host.secrets.texts[REF] = OTHER
    assert "1 to change" in plan(services)
    apply(services)
    assert marks(services)[0].secrets == ()  # it would be that of the former secret
    services.host.secrets.key = b"key"
    assert "No changes" in plan(services)


def test_a_plan_of_someone_without_the_key_can_be_applied_by_who_has_it(tmp_path: Path) -> None:
    services = serve(**DISPLAY)
    services.host.secrets.key = None
    kept = str(tmp_path / "kept.plan")
    plan(services, "--out", kept)
    services.host.secrets.key = b"key"
    assert call(services, "apply", "--yes", kept).status == 0
    assert S in xmls(services)[0]


def test_two_versions_of_a_manifest_differ_by_the_secrets_that_they_name() -> None:
    sides = [
        FakeServices(manifests(vm1={**DISPLAY, "graphicsPassword": {"secretRef": {"file": path}}}))
        for path in (PATH, "/root/other")
    ]
    base, head = (side.load_manifests(()).desired for side in sides)
    [action] = compare_without_host(base, head, PlanOptions()).actions
    [change] = action.changes
    assert (change.observed, change.desired) == (f"file {PATH}", "file /root/other")
    assert change.effect is Effect.LIVE


def test_a_first_password_waits_for_the_next_start() -> None:
    services = serve(power="running", graphics="vnc")
    apply(services)
    services.files = manifests(vm1=DISPLAY)
    assert "1 to change (1 next-boot" in plan(services)
    apply(services)
    assert S in xmls(services)[0]
    assert S not in xmls(services)[1]


def test_a_changed_secret_of_a_fragment_is_planned() -> None:
    services = serve(**FRAGMENT)
    apply(services)
    services.host.secrets.texts[REF] = "x" * 40
    shown = plan(services)
    assert "1 to change" in shown
    apply(services)
    assert "x" * 40 in xmls(services)[0]
    assert "No changes" in plan(services)


@pytest.mark.parametrize("spec", [DISPLAY, FRAGMENT], ids=["display", "fragment"])
def test_a_secret_that_cannot_be_read_is_a_note_and_never_a_difference(
    spec: Dict[str, Any],
) -> None:
    services = serve(**spec)
    apply(services)
    del services.host.secrets.texts[REF]
    shown = plan(services)
    assert "No changes" in shown
    assert f"secret not compared: file {PATH}: does not exist" in plan(services, "--verbose")
    services.files = manifests(vm1={**spec, "autostart": True})
    assert f"secret not compared: file {PATH}" in plan(services)
    apply(services)
    assert S in xmls(services)[0]


def test_a_display_without_the_password_that_cannot_be_read_is_withheld() -> None:
    services = serve(power="running", graphics="vnc")
    apply(services)
    services.files = manifests(vm1={**DISPLAY, "autostart": True})
    services.host.secrets.texts.clear()
    shown = plan(services)
    assert f"the secret cannot be read: file {PATH}: does not exist" in shown
    assert "1 withheld" in shown
    apply(services)
    owner = read_owner(parse(xmls(services)[0]))
    assert owner is not None
    assert PATH not in owner.spec  # not applied in full


def test_nothing_is_created_without_its_secret() -> None:
    disk = {"name": "root", "size": "1GiB"}
    services = serve(**DISPLAY, disks=[disk])
    services.host.secrets.texts.clear()
    assert f"until its secret can be read: file {PATH}" in plan(services)
    done = call(services, "apply", "--yes", "p")
    assert done.status == 1
    assert f"file {PATH}: does not exist" in done.out + done.err
    assert services.host.views == {}
    assert not services.host.pools["default"].volumes


def test_a_password_too_long_for_vnc_is_refused_before_anything_is_done() -> None:
    services = serve("geheim789", **DISPLAY)
    done = call(services, "apply", "--yes", "p")
    assert "has 9 characters, and VNC permits 8" in done.out + done.err
    assert "geheim789" not in done.out + done.err
    assert services.host.views == {}


def test_another_display_keeps_the_password() -> None:
    services = serve(**{**DISPLAY, "power": "stopped"})
    apply(services)
    services.files = manifests(vm1={**DISPLAY, "power": "stopped", "graphics": "spice"})
    apply(services)
    display = parse(xmls(services)[0]).find("devices/graphics")
    assert display is not None
    assert (display.get("type"), display.get("passwd")) == ("spice", S)


def test_a_token_that_someone_wrote_elsewhere_is_not_filled() -> None:
    services = serve(**DISPLAY)
    token = f"${{secretRef:file:{PATH}}}"
    services.files = manifests(
        vm1={**DISPLAY, "xml": [{"xpath": "/domain", "fragment": f"<title>{token}</title>"}]}
    )
    apply(services)
    root = parse(xmls(services)[0])
    assert root.findtext("title") == token
    owner = read_owner(root)
    assert owner is not None
    assert S not in owner.spec


PLAIN = {"graphics": "vnc", "graphicsPassword": S}
IN_FRAGMENT = {
    "xml": [{"xpath": "/domain/devices", "fragment": f"<graphics type='vnc' passwd='{S}'/>"}]
}
LINES = {
    "field": (PLAIN, "spec.graphicsPassword: contains a password or key"),
    "display": (IN_FRAGMENT, "write graphicsPassword: {secretRef: {file: /etc/virt-reconciler"),
    "fragment": (
        {"xml": [{"xpath": "/domain", "fragment": f"<env name='A_TOKEN' value='{S}'/>"}]},
        "libvirt shows such a fragment to everyone on the host; give it to the guest by cloudInit",
    ),
}


OPEN = {
    "text": ("sysinfo/oemStrings", "<entry>a:token=${x}</entry>", "a secret in <entry>"),
    "attribute": (
        "devices",
        "<hostdev><source key='${x}'/></hostdev>",
        "a secret in key of <source>",
    ),
    "beside": (
        "devices",
        "<graphics type='vnc' passwd='a' keymap='${x}'/>",
        "in keymap of <graphics>",
    ),
}


@pytest.mark.parametrize(("place", "fragment", "words"), OPEN.values(), ids=OPEN)
def test_a_secret_is_refused_where_libvirt_shows_it(place: str, fragment: str, words: str) -> None:
    overlay = {"xpath": f"/domain/{place}", "fragment": fragment, "secrets": {"x": NAMED}}
    done = call(serve(xml=[overlay]), "validate", "p")
    assert done.status == 65
    assert "spec.xml[0].fragment: everyone on the host can read" in done.err
    assert words in done.err


@pytest.mark.parametrize(("spec", "words"), LINES.values(), ids=LINES)
def test_a_plain_password_is_refused_with_what_to_write(spec: Dict[str, Any], words: str) -> None:
    services = serve(**spec)
    for verb in ("validate", "plan"):
        done = call(services, verb, "p")
        assert done.status == 65
        assert words in done.err
        assert "allowPlainPasswords: true" in done.err
        assert S not in done.out + done.err


@pytest.mark.parametrize("spec", [PLAIN, IN_FRAGMENT], ids=["field", "fragment"])
def test_a_plain_password_that_is_allowed_is_in_no_mark_and_no_digest(
    spec: Dict[str, Any], tmp_path: Path
) -> None:
    services = serve(**spec)
    services.settings = Settings(allow_plain_passwords=True)
    shown = plan(services, "--out", str(tmp_path / "plan")) + apply(services)
    shown += (tmp_path / "plan").read_text(encoding="utf-8")
    first = read_owner(parse(xmls(services)[0]))
    assert first is not None
    assert S in xmls(services)[0]
    assert S not in shown + first.spec + repr(services.history.entries)
    assert "No changes" in plan(services)
    services.files = {"vm1.yaml": services.files["vm1.yaml"].replace(S, OTHER)}
    assert "1 to change" in plan(services)
    shown = apply(services)
    second = read_owner(parse(xmls(services)[0]))
    assert OTHER in xmls(services)[0]
    assert OTHER not in shown
    assert second is not None
    assert second.generation == first.generation


@pytest.mark.parametrize("power", ["running", "stopped"])
def test_a_password_in_the_mark_of_an_earlier_version_is_removed(power: str) -> None:
    services = serve(**{**DISPLAY, "power": power})
    apply(services)
    view = services.host.views["vm1"]
    owner = read_owner(parse(view.persistent_xml))
    assert owner is not None
    # As version 1.1 wrote it for a display whose password was in the manifest.
    old = replace(
        owner,
        generation="0123456789ab",
        spec=f'{{"xml":[{{"fragment":"<graphics passwd=\\"{S}\\"/>","xpath":"/domain/devices"}}]}}',
    )
    live = view.live_xml and set_owner(view.live_xml, old)
    services.host.change("vm1", persistent_xml=set_owner(view.persistent_xml, old), live_xml=live)
    shown = plan(services)
    assert "metadata.spec" in shown
    assert "an earlier version stored a password in the domain's metadata" in shown
    assert "1 to change (0 next-boot, 0 restart)" in shown
    services.host.writes.clear()
    shown += apply(services)
    assert services.host.writes == ["set_metadata vm1"]
    assert S not in shown + repr(services.history.entries) + repr(services.history.last)
    for xml in filter(None, xmls(services)):
        mark = read_owner(parse(xml))
        assert mark is not None
        assert S not in mark.spec
    assert "No changes" in plan(services)


def test_it_is_removed_also_where_the_rest_is_withheld() -> None:
    services = serve(power="running", graphics="vnc")
    apply(services)
    view = services.host.views["vm1"]
    owner = read_owner(parse(view.persistent_xml))
    assert owner is not None
    old = replace(owner, spec=f'{{"graphicsPassword":"{S}"}}')
    services.host.change(
        "vm1",
        persistent_xml=set_owner(view.persistent_xml, old),
        live_xml=set_owner(view.live_xml or "", old),
    )
    services.files = manifests(vm1={**DISPLAY, "lifecycle": {"disruption": "never"}})
    apply(services)
    for xml in xmls(services):
        mark = read_owner(parse(xml))
        assert mark is not None
        assert S not in mark.spec
        assert mark.generation == owner.generation
