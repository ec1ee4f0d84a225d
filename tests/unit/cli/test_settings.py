"""Which settings hold for a command."""

from __future__ import annotations

from pathlib import Path
from typing import Tuple

import pytest

from reconciler.cli import settings as module
from reconciler.cli.arguments import build_parser
from reconciler.cli.console import Exit
from reconciler.cli.settings import settings_of
from reconciler.core.settings import DirectorySource, Settings
from reconciler.errors import TransientError, UsageError

from .fakes import REAL, FakeServices, call

FROM_FILE = Settings(directory=DirectorySource("/m"), connect="test:///default")


@pytest.fixture
def usual(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where the usual configuration would be; it is not there."""
    path = tmp_path / "config.yaml"
    monkeypatch.setattr(module, "CONFIG_FILE", str(path))
    return path


def settle(services: FakeServices, *argv: str, is_required: bool = False) -> Settings:
    """Return the settings of a command line."""
    options = build_parser().parse_args([*argv, "status"])
    return settings_of(options, services, is_required=is_required)


def test_the_usual_file_is_read_where_it_is(usual: Path) -> None:
    usual.touch()
    services = FakeServices(settings=FROM_FILE)
    assert settle(services) == FROM_FILE
    assert services.configs == [str(usual)]


def test_without_the_usual_file_the_defaults_hold(usual: Path) -> None:
    services = FakeServices(settings=FROM_FILE)
    assert settle(services) == Settings()
    assert services.configs == []


def test_a_dangling_link_is_no_missing_file(usual: Path) -> None:
    usual.symlink_to(usual.parent / "away.yaml")
    assert settle(FakeServices(settings=FROM_FILE)) == FROM_FILE


def test_a_file_that_is_named_must_be_there(usual: Path) -> None:
    options = build_parser().parse_args(["status", "--config", str(usual)])
    with pytest.raises(UsageError, match=f"no configuration file {usual}"):
        settings_of(options, REAL)


def test_the_daemon_needs_a_file(usual: Path) -> None:
    options = build_parser().parse_args(["status"])
    with pytest.raises(UsageError, match=f"no configuration file {usual}"):
        settings_of(options, REAL, is_required=True)


def test_the_option_connect_goes_before_the_file(usual: Path) -> None:
    usual.touch()
    settings = settle(FakeServices(settings=FROM_FILE), "-c", "qemu:///session")
    assert (settings.connect, settings.directory) == ("qemu:///session", FROM_FILE.directory)
    usual.unlink()
    assert settle(FakeServices(), "-c", "qemu:///session").connect == "qemu:///session"


OWN = "qemu:///system"
OTHER = "qemu+ssh://root@kvm02/system"
# What is there (the configuration names `OWN`) → the URI that every verb asks.
ORDER = {
    "the option first": (("-c", OTHER), {"LIBVIRT_DEFAULT_URI": "test:///default"}, True, OTHER),
    "then the variable": ((), {"LIBVIRT_DEFAULT_URI": OTHER}, True, OTHER),
    "an empty variable is none": ((), {"LIBVIRT_DEFAULT_URI": ""}, True, OWN),
    "then the configuration": ((), {}, True, OWN),
    "then libvirt's own choice": ((), {}, False, None),
}
VERBS = {
    "plan": ("plan", "vm.yaml"),
    "apply": ("apply", "--yes", "vm.yaml"),
    "adopt": ("adopt", "web01", "-f", "vm.yaml"),
    "export": ("export", "--all"),
    "snapshot": ("snapshot",),
    "status": ("status", "--live"),
    "rollback": ("rollback", "web01", "--yes"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("case", ORDER)
def test_one_order_decides_which_libvirt_is_asked(case: str, verb: str, usual: Path) -> None:
    options, environ, has_file, expected = ORDER[case]
    if has_file:
        usual.touch()
    services = FakeServices(settings=Settings(connect=OWN), unreachable=TransientError("away"))
    result = call(services, *options, *VERBS[verb], environ=environ)
    assert services.uris == [expected], result.err


def test_a_user_who_gets_his_own_libvirt_is_told_of_the_hosts(usual: Path) -> None:
    result = call(FakeServices(session=True), "export", "--all")
    assert (
        "add --connect qemu:///system, or export LIBVIRT_DEFAULT_URI=qemu:///system" in result.err
    )
    for said in (("-c", "qemu:///session", "export", "--all"),):
        assert "asks your own libvirt" not in call(FakeServices(session=True), *said).err
    usual.touch()
    assert "asks your own libvirt" not in call(FakeServices(session=True), "export", "--all").err


ORDERS = (("suspend", "web01"), ("resume", "web01"), ("retry", "web01"), ("prune", "--yes"))


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order[0])
@pytest.mark.parametrize("how", ["option", "variable", "beside a file"])
def test_an_order_for_another_host_is_refused_and_not_given_to_the_daemon_here(
    order: Tuple[str, ...], how: str, usual: Path
) -> None:
    usual.touch()
    services = FakeServices(settings=Settings(connect=OWN))
    options = {
        "option": ("-c", OTHER),
        "variable": (),
        "beside a file": ("-c", OTHER, "--config", "x"),
    }
    environ = {"LIBVIRT_DEFAULT_URI": OTHER} if how == "variable" else {}
    result = call(services, *options[how], *order, environ=environ)
    assert result.status == Exit.USAGE
    assert f"which manages {OWN};" in result.err
    assert OTHER in result.err


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order[0])
def test_an_order_that_names_the_daemons_own_libvirt_is_given(
    order: Tuple[str, ...], usual: Path
) -> None:
    usual.touch()
    result = call(FakeServices(settings=Settings(connect=OWN)), "-c", OWN, *order)
    assert result.status != Exit.USAGE, result.err
