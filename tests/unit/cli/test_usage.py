"""Wrong usage: status 64 and one line that says what to type."""

from __future__ import annotations

import argparse
from typing import Tuple

import pytest

from reconciler import __version__
from reconciler.cli.arguments import build_parser

from .fakes import FakeServices, call


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        pytest.param((), "VERB", id="no-verb"),
        pytest.param(("frobnicate",), "invalid choice: 'frobnicate'", id="unknown-verb"),
        pytest.param(("plan",), "PATH", id="plan-without-path"),
        pytest.param(("plan", "x", "--format", "xml"), "invalid choice: 'xml'", id="format"),
        pytest.param(("plan", "x", "--yes"), "unrecognized arguments: --yes", id="option-of-apply"),
        pytest.param(("plan", "x", "--detailed"), "--detailed", id="abbreviated-option"),
        pytest.param(("adopt", "vm1"), "-f/--manifests", id="adopt-without-manifests"),
        pytest.param(("schema", "Pod"), "there is no schema 'Pod'", id="unknown-kind"),
        pytest.param(("export",), "--all", id="export-of-nothing"),
        pytest.param(("export", "vm1", "--all"), "--all", id="export-of-one-and-all"),
        pytest.param(("-c",), "expected one argument", id="connect-without-uri"),
    ],
)
def test_wrong_usage_is_64_and_one_line(argv: Tuple[str, ...], words: str) -> None:
    result = call(FakeServices(), *argv)
    assert (result.status, result.out) == (64, "")
    assert result.err.startswith("virt-reconciler: error: ")
    assert words in result.err
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("argv", "end"),
    [
        (("pla", "p"), "; did you mean plan? (see `virt-reconciler --help`)\n"),
        (("host", "chek"), "; did you mean check? (see `virt-reconciler host --help`)\n"),
        (("start", "web01"), "; use `virsh start NAME`, or power: running in its manifest (see `virt-reconciler --help`)\n"),
        (("list",), "; use `virt-reconciler status` (see `virt-reconciler --help`)\n"),
        (("apply", "--dry-run", "p"), "--dry-run; use `virt-reconciler plan PATH` (see `virt-reconciler --help`)\n"),
        (("status", "-o", "json"), "-o; use --format json (see `virt-reconciler --help`)\n"),
        (("plan", "--output=json", "p"), "--output=json; use --format json (see `virt-reconciler --help`)\n"),
        (("frobnicate",), "'schema') (see `virt-reconciler --help`)\n"),
    ],
)  # fmt: skip
def test_what_other_tools_have_leads_to_what_is_here(argv: Tuple[str, ...], end: str) -> None:
    result = call(FakeServices(), *argv)
    assert (result.status, result.out) == (64, "")
    assert result.err.endswith(end)


def test_usage_error_of_a_verb_points_to_its_help() -> None:
    assert "(see `virt-reconciler plan --help`)" in call(FakeServices(), "plan").err


@pytest.mark.parametrize(
    "argv", [("-c", "test:///x", "plan", "p"), ("plan", "p", "-c", "test:///x")]
)
def test_uri_is_taken_before_and_after_the_verb(argv: Tuple[str, ...]) -> None:
    services = FakeServices()
    call(services, *argv)
    assert services.uris == ["test:///x"]


def test_without_uri_libvirt_decides() -> None:
    services = FakeServices()
    call(services, "plan", "p")
    assert services.uris == [None]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(FakeServices(), "--version").status == 0
    assert capsys.readouterr().out == f"virt-reconciler {__version__}\n"


def test_help_names_every_verb_and_exit_status(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(FakeServices(), "--help").status == 0
    text = capsys.readouterr().out
    words = "validate plan apply status suspend resume export adopt schema 65"
    for word in words.split():
        assert word in text


@pytest.mark.parametrize("verb", ["apply", "rollback", "export"])
def test_the_help_of_a_verb_fits_a_narrow_terminal(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    assert call(FakeServices(), verb, "--help").status == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 60


def test_every_option_has_a_help_text() -> None:
    parser = build_parser()
    verbs = next(
        action for action in parser._actions if isinstance(action, argparse._SubParsersAction)
    )
    parsers = [parser, *verbs.choices.values()]
    options = [action for each in parsers for action in each._actions if action.dest != "verb"]
    assert [option.dest for option in options if not option.help] == []
