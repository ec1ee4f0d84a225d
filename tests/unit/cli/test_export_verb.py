"""`export`: minimal manifests, remarks on what they leave out, and safe YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Callable

import pytest

from reconciler.control.observe import read
from reconciler.core.domain import set_owner
from reconciler.core.export import export_machine
from reconciler.core.owner import Owner
from reconciler.core.world import DomainView, GuestState, Reading, Unknown
from reconciler.core.yaml_text import write_documents

from .domains import LIVE, ODD, STORED
from .fakes import FakeParts, call

yaml = pytest.importorskip("yaml")
Golden = Callable[[Path, str], None]
GOLDEN = Path(__file__).parent / "golden"
GIB = 1024**3


def reading(name: str, xml: str, live: str | None = None, **more: Any) -> Reading:
    state = GuestState.RUNNING if live else GuestState.OFF
    return read(DomainView(name, "u", state, xml, live, **more))


PLAIN = reading("web01", STORED)
RUNNING = reading(
    "web01", set_owner(STORED, Owner("web01", "g", "{}", "rocky9")), LIVE, autostart=True
)
STRANGE = reading("odd one", ODD)
SIZES = {
    "/var/lib/libvirt/images/web01.qcow2": 20 * GIB,
    "/srv/images/a disk.raw": 10 * GIB + 512,  # no whole number of KiB: cannot be written
    "sda": 30 * GIB,
}


@pytest.mark.parametrize(
    ("name", "one"),
    [("plain", PLAIN), ("running-and-owned", RUNNING), ("odd", STRANGE)],
)
def test_export_reads_as_its_golden_file(name: str, one: Reading, golden: Golden) -> None:
    parts = FakeParts(domains={"it": one}, sizes=SIZES)
    golden(GOLDEN / f"export-{name}.yaml", call(parts, "export", "it").out)


def test_yaml_says_what_was_exported() -> None:
    manifest = export_machine(STRANGE, SIZES)
    assert yaml.safe_load(write_documents([(manifest, ("a remark",))])) == manifest


def test_all_is_one_stream_of_documents_by_name() -> None:
    parts = FakeParts(domains={"b": reading("b", STORED), "a": PLAIN})
    assert len(list(yaml.safe_load_all(call(parts, "export", "--all").out))) == 2


def test_interface_of_another_kind_leaves_all_of_them_unmanaged() -> None:
    xml = STORED.replace("<interface type='network'>", "<interface type='user'>").replace(
        "<source network='default'/>", ""
    )
    result = call(FakeParts(domains={"web01": reading("web01", xml)}), "export", "web01")
    assert "interfaces" not in yaml.safe_load(result.out)["spec"]
    assert "# interfaces are left out" in result.out


def test_machine_without_interfaces_says_so() -> None:
    xml = STORED[: STORED.index("    <interface")] + STORED[STORED.index("    <serial") :]
    assert export_machine(reading("web01", xml), {})["spec"]["interfaces"] == []


def test_unreadable_and_absent_domains_are_errors_and_the_others_are_written() -> None:
    parts = FakeParts(domains={"web01": PLAIN, "dark": Unknown("timed out")})
    result = call(parts, "export", "web01", "dark", "gone")
    assert result.status == 1
    assert yaml.safe_load(result.out)["metadata"] == {"name": "web01"}
    assert result.err.splitlines() == [
        "virt-reconciler: error: gone: no such domain on this host",
        "virt-reconciler: error: dark: cannot be read: timed out",
    ]


@pytest.mark.parametrize(
    "value",
    [
        "plain", "no", "On", "y", "null", "~", "1:30", "0x1f", "1e3", "1_000", "12", "4GiB", "",
        " lead", "trail ", "a: b", "a #b", "- a", "{a}", "[a]", "*a", "&a", "!a", "%a", "@a", "`a`",
        'quote"d', "back\\slash", "line\nbreak", "tab\t", "\x00\x1b", "\u2028", "\ufeff", "ünïcödé",
        "\U0001f600", "\u202e", "=", "<<", "...", "---", "2001-01-01", ".5", "+1", "0o7", "NaN",
        "pc-q35-7.2", "/var/lib/a b.qcow2", "52:54:00:12:34:56", "\x85", "\ud7ff", "none",
    ],
)  # fmt: skip
def test_any_string_comes_back_from_yaml_as_it_was(value: str) -> None:
    text = write_documents([({"key": value, "list": [value], "m": [{"k": value}]}, ())])
    assert yaml.safe_load(text) == {"key": value, "list": [value], "m": [{"k": value}]}


def test_remark_cannot_break_out_of_its_comment() -> None:
    text = write_documents([({"a": 1}, ("evil\nkey: value",))])
    assert yaml.safe_load(text) == {"a": 1}
