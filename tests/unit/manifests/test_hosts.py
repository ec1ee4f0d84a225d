"""What is said of `Host` manifests, alone and beside each other and the machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.core.libvirt_daemons import Mode
from tests.unit.manifests.documents import complaints, host, load, machine


def test_a_host_in_full(tmp_path: Path) -> None:
    text = host("rack", ["kvm01", "kvm02"], required=["virtqemud"], forbidden=["libvirtd"])
    [found] = load(tmp_path, text).desired.hosts
    assert (found.selector, found.mode) == (("kvm01", "kvm02"), Mode.MODULAR)
    assert (found.required, found.forbidden, found.ensure) == (("virtqemud",), ("libvirtd",), False)


def test_a_host_is_for_the_host_of_its_name_if_it_selects_none(tmp_path: Path) -> None:
    [found] = load(tmp_path, host("kvm07", action="ensure")).desired.hosts
    assert (found.selector, found.ensure) == (("kvm07",), True)


@pytest.mark.parametrize(
    ("text", "path", "words"),
    [
        pytest.param(
            host(required=["virtqemud", "libvirtd"]),
            "spec.daemons.required[1]",
            "libvirtd does not run on a host of mode modular",
            id="a daemon of the other mode",
        ),
        pytest.param(
            host(mode="monolithic", required=["virtqemud"]),
            "spec.daemons.required[0]",
            "virtqemud does not run on a host of mode monolithic",
            id="and the reverse",
        ),
        pytest.param(
            host(required=["virtqemud"], forbidden=["virtqemud"]),
            "spec.daemons.required[0]",
            "virtqemud is forbidden as well",
            id="required and forbidden",
        ),
        pytest.param(
            host(forbidden=["virtlogd"]),
            "spec.daemons.forbidden[0]",
            "virtlogd serves the other daemons, in both modes",
            id="what the others need",
        ),
        pytest.param(
            host(mode="modulr"),
            "spec.daemons.mode",
            "'modulr' is not one of modular, monolithic; did you mean modular?",
            id="a mode that is none",
        ),
        pytest.param(
            host(selector=["kvm 01"]),
            "spec.selector[0]",
            "'kvm 01' is not valid; write a host name, like kvm01 or kvm01.example.org",
            id="a name that is none",
        ),
    ],
)
def test_a_host_that_makes_no_sense(tmp_path: Path, text: str, path: str, words: str) -> None:
    assert complaints(tmp_path, text) == [(path, words)]


def test_a_host_belongs_to_one_manifest(tmp_path: Path) -> None:
    found = complaints(tmp_path, host("a", ["kvm01"]), host("b", ["kvm02", "kvm01.example.org"]))
    assert found == [("spec.selector[1]", "kvm01.example.org is a name of Host 'a' already")]


def test_equal_short_names_in_two_domains_are_two_hosts(tmp_path: Path) -> None:
    texts = (host("a", ["kvm01.one.org"]), host("b", ["kvm01.two.org"]))
    assert complaints(tmp_path, *texts, machine(placement={"host": "kvm01.one.org"})) == []


def test_a_machine_that_two_hosts_would_claim_is_refused(tmp_path: Path) -> None:
    texts = (host("a", ["kvm01.one.org"]), host("b", ["kvm01.two.org"]))
    found = load(tmp_path, *texts, machine(placement={"host": "kvm01"}))
    assert [(problem.path, problem.message) for problem in found.problems] == [
        ("spec.placement.host", "kvm01 is a name of several Hosts: a, b")
    ]
    assert found.desired.machines == ()


def test_a_machine_says_which_of_several_hosts_has_it(tmp_path: Path) -> None:
    texts = (host("a"), host("b"))
    [(path, words)] = complaints(tmp_path, *texts, machine())
    assert (path, words.split(";")[0]) == ("spec", "there are several Hosts (a, b)")
    assert complaints(tmp_path, *texts, machine(placement={"host": "b"})) == []


def test_where_there_is_one_host_a_machine_need_not_name_it(tmp_path: Path) -> None:
    found = load(tmp_path, host("a"), machine())
    assert (len(found.problems), len(found.desired.machines), len(found.desired.hosts)) == (0, 1, 1)
