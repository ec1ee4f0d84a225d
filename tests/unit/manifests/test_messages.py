"""The words that people get, whole; the corpus `bad/` holds every kind of mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from reconciler.adapters.manifests import reader
from reconciler.adapters.manifests.reader import load_manifests
from tests.conftest import Golden
from tests.unit.manifests.documents import load, machine

HERE = Path(__file__).parent


def test_the_messages_about_the_corpus(golden: Golden, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HERE)
    loaded = load_manifests(["bad"])
    golden(HERE / "bad" / "problems.txt", "".join(f"{problem}\n" for problem in loaded.problems))
    assert loaded.desired.machines == ()


def test_a_refusal_without_a_reason_is_loud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "is_valid", lambda _: lambda _: False)
    (problem,) = load(tmp_path, machine()).problems
    assert "internal error" in problem.message


MACHINE = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {{name: {name}, labels: {labels}}}
spec: {{cpus: {cpus}, memory: 2GiB, autostart: {autostart}, disks: {disks}}}
"""
RIGHT = {"name": "web", "labels": "{}", "cpus": "2", "autostart": "true", "disks": "[]"}


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("disks", "[root]", "spec.disks[0]: 'root' is not valid here; write a mapping"),
        ("disks", "[{name: d, size: 1GiB}], lifecycle: {windows: [always]}", "spec.lifecycle.windows[0]: 'always' is not valid here; write a mapping with days, start, duration"),
        ("name", "007", "metadata.name: 7 is an unquoted number; write it in quotes"),
        ("labels", "{a: 1}", "metadata.labels.a: 1 is an unquoted number; write it in quotes"),
        ("labels", "{a: yes, b: true}", "metadata.labels.b: true is not valid here; write it in quotes"),
        ("cpus", "'2'", "spec.cpus: '2' is not valid here; remove the quotes"),
        ("autostart", "'true'", "spec.autostart: 'true' is not valid here; remove the quotes"),
        ("autostart", "yes", "spec.autostart: 'yes' is not valid here; write true or false"),
        ("autostart", "1", "spec.autostart: 1 is an unquoted number; write true or false"),
        ("disks", "[{name: d, source: {import: x.vmdk}}]", "spec.disks[0].source.import: 'x.vmdk' is not valid here; give exactly one of ova, vmx, disk"),
    ],
)  # fmt: skip
def test_a_value_of_the_wrong_type_is_told_once_with_what_to_do(
    field: str, value: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / "vm.yaml").write_text(MACHINE.format(**{**RIGHT, field: value}), encoding="utf-8")
    problems = load_manifests([str(tmp_path / "vm.yaml")]).problems
    assert [str(problem).partition(": ")[2] for problem in problems] == [message]
