"""`plan --base` on real repositories, without libvirt: what a reviewer of a branch is shown."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, List

import pytest

from tests.unit.cli.fakes import REAL, Result, call
from tests.unit.source.repositories import Repository, git, machines

TEMPLATE = """\
apiVersion: virt-reconciler/v1
kind: Template
metadata: {name: base}
spec: {volume: base.qcow2, os: rocky9, generalized: by hand}
"""
CLONE = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {name: clone}
spec:
  cpus: 1
  memory: 1GiB
  disks: [{name: root, bus: virtio, source: {template: base, clone: full}}]
"""


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    """Return a repository with three machines on `main`, at a branch `work`, as current folder."""
    repository = Repository(tmp_path / "repo", machines("a", "b", "c"))
    git(repository.folder, "checkout", "--quiet", "-b", "work")
    monkeypatch.chdir(repository.folder)
    return repository


def plan(*words: str) -> Result:
    return call(REAL, "plan", *words)


def resources(*words: str) -> Dict[str, Any]:
    """Return what the JSON plan says of each machine."""
    done = plan("--format", "json", *words)
    assert done.status == 0, done.err
    return {one["name"]: one for one in json.loads(done.out)["resources"]}


def actions(*words: str) -> Dict[str, str]:
    return {name: one["action"] for name, one in resources(*words).items()}


def edit(repository: Repository, name: str, old: str, new: str) -> None:
    path = repository.folder / name
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def last(done: Result) -> str:
    return done.out.splitlines()[-1]


def test_what_a_branch_changes_is_shown_and_nothing_else(repository: Repository) -> None:
    repository.commit(machines("a", memory="2GiB"))
    found = resources("--base", "main", "vm")
    assert list(found) == ["a"]
    [change] = found["a"]["changes"]
    assert (change["path"], change["observed"], change["desired"]) == (
        "memory.size",
        2**30,
        2**31,
    )
    assert change["effect"] == "next-boot"


def test_a_plan_names_both_revisions(repository: Repository) -> None:
    base = repository.head()
    head = repository.commit(machines("d"))
    done = plan("--base", "main", "--format", "json", "vm")
    data = json.loads(done.out)
    assert (data["host"], data["revision"], data["base"]) == ("", head, f"main ({base[:12]})")


def test_a_branch_without_changes_has_an_empty_plan(repository: Repository) -> None:
    done = plan("--base", "main", "--detailed-exitcode", "vm")
    assert "No changes: both revisions describe the same machines." in done.out
    assert (done.status, last(done)[:19]) == (0, "Plan: 0 to create, ")


def test_detailed_exit_status_tells_of_what_would_disturb_a_guest(repository: Repository) -> None:
    repository.commit(machines("d"))
    assert plan("--base", "main", "--detailed-exitcode", "vm").status == 2


def test_files_that_are_not_committed_count_unless_a_revision_is_named(
    repository: Repository,
) -> None:
    repository.write(machines("new"))
    assert actions("--base", "main", "vm") == {"new": "create"}
    assert actions("--base", "main", "--head", "work", "vm") == {}


def test_a_file_that_is_renamed_is_the_same_machine(repository: Repository) -> None:
    git(repository.folder, "mv", "vm/a.yaml", "vm/other.yaml")
    repository.commit({})
    assert actions("--base", "main", "vm") == {}
    edit(repository, "vm/other.yaml", "1GiB", "2GiB")
    assert actions("--base", "main", "vm") == {"a": "update"}


def test_machines_that_are_put_into_one_file_are_the_same(repository: Repository) -> None:
    texts = [(repository.folder / f"vm/{one}.yaml").read_text("utf-8") for one in "abc"]
    git(repository.folder, "rm", "--quiet", "vm/a.yaml", "vm/b.yaml", "vm/c.yaml")
    repository.commit({"vm/all.yaml": "---\n".join(texts)})
    assert actions("--base", "main", "vm") == {}


def test_a_machine_whose_name_changes_is_shown_as_what_it_is(repository: Repository) -> None:
    edit(repository, "vm/a.yaml", "name: a", "name: z")
    found = resources("--base", "main", "vm")
    assert {name: one["action"] for name, one in found.items()} == {"a": "withheld", "z": "create"}
    assert "the virtual machine stays (lifecycle.deletion: orphan)" in found["a"]["reason"]
    [note] = found["a"]["notes"]
    assert "its manifest is called z now: that is another virtual machine" in note


def test_a_manifest_that_goes_ends_as_it_said_itself(repository: Repository) -> None:
    text = (repository.folder / "vm/a.yaml").read_text(encoding="utf-8")
    git(repository.folder, "checkout", "--quiet", "main")
    repository.commit({"vm/a.yaml": f"{text.rstrip()}\n  lifecycle: {{deletion: undefine}}\n"})
    git(repository.folder, "rm", "--quiet", "vm/a.yaml")
    repository.commit({})
    done = plan("--base", "main~1", "vm")
    assert "- a: will be deleted" in done.out
    assert "1 to delete (0 volumes)" in last(done)


def test_what_was_not_managed_before_is_not_claimed_to_be_known(repository: Repository) -> None:
    edit(repository, "vm/a.yaml", "spec:", "spec:\n  graphics: spice\n  machine: q35")
    found = resources("--base", "main", "vm")["a"]
    [change] = [one for one in found["changes"] if one["path"] == "graphics"]
    assert (change["observed"], change["desired"]) == (None, "spice")
    assert found["notes"] == ["machine is managed from now on; if it is not q35, it is changed"]


def test_a_machine_for_another_host_is_not_moved(repository: Repository) -> None:
    text = (repository.folder / "vm/a.yaml").read_text(encoding="utf-8")
    first = text.replace("spec:", "spec:\n  placement: {host: kvm01}")
    repository.commit({"vm/a.yaml": first})
    repository.commit({"vm/a.yaml": first.replace("kvm01", "kvm02")})
    [change] = resources("--base", "work~1", "vm")["a"]["changes"]
    assert (change["path"], change["effect"]) == ("placement.host", "withheld")


def test_a_branch_that_is_behind_is_told_so(repository: Repository) -> None:
    git(repository.folder, "checkout", "--quiet", "main")
    repository.commit(machines("a", memory="4GiB"))
    git(repository.folder, "checkout", "--quiet", "work")
    repository.commit(machines("b", memory="2GiB"))
    done = plan("--base", "main", "vm")
    assert "main is ahead of these manifests by 1 commit" in done.err
    assert "--base $(git merge-base main " in done.err
    base = git(repository.folder, "merge-base", "main", "work")
    assert actions("--base", base, "vm") == {"b": "update"}


def test_a_merge_shows_what_the_branch_brought(repository: Repository) -> None:
    repository.commit(machines("b", memory="2GiB"))
    git(repository.folder, "checkout", "--quiet", "main")
    repository.commit(machines("a", memory="4GiB"))
    git(repository.folder, "merge", "--quiet", "--no-edit", "work")
    assert actions("--base", "HEAD^1", "vm") == {"b": "update"}
    assert actions("--base", "HEAD^2", "vm") == {"a": "update"}


def test_a_shallow_clone_will_do(repository: Repository, tmp_path: Path) -> None:
    repository.commit(machines("b", memory="2GiB"))
    url = f"file://{repository.folder}"
    git(tmp_path, "clone", "--quiet", "--depth=1", "--branch=work", url, "shallow")
    shallow = tmp_path / "shallow"
    done = plan("--base", "origin/main", str(shallow / "vm"))
    assert done.status == 64
    assert "git fetch --depth=1 origin BRANCH" in done.err
    git(shallow, "fetch", "--quiet", "--depth=1", "origin", "main")
    assert actions("--base", "FETCH_HEAD", str(shallow / "vm")) == {"b": "update"}


def test_a_bare_repository_will_do(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository.commit(machines("b", memory="2GiB"))
    git(tmp_path, "clone", "--quiet", "--bare", str(repository.folder), "bare")
    monkeypatch.chdir(tmp_path / "bare")
    assert actions("--base", "main", "--head", "work", "vm") == {"b": "update"}
    assert actions("--base", "main", "vm") == {"b": "update"}, "HEAD is at work"


def test_a_template_that_is_in_an_unchanged_file_is_found(repository: Repository) -> None:
    repository.commit({"templates/base.yaml": TEMPLATE})
    repository.commit({"vm/clone.yaml": CLONE})
    found = resources("--base", "work~1", ".")["clone"]
    assert found["action"] == "create"
    [disk] = [one for one in found["changes"] if one["path"] == "disks[root]"]
    assert "full clone of template base" in disk["desired"]


HOST = """\
apiVersion: virt-reconciler/v1
kind: Host
metadata: {name: kvm01}
spec: {daemons: {mode: modular, required: [%s], action: %s}}
"""


def test_what_a_branch_asks_of_a_host_is_shown_field_by_field(repository: Repository) -> None:
    git(repository.folder, "checkout", "--quiet", "main")
    repository.commit({"kvm01.yaml": HOST % ("virtqemud", "ensure")})
    git(repository.folder, "checkout", "--quiet", "-B", "work")
    repository.commit({"kvm01.yaml": HOST % ("virtqemud, virtnetworkd", "ensure")})
    shown = plan("--base", "main", ".").out
    assert "Host kvm01: 1 change" in shown
    assert "daemons.required: virtqemud → virtqemud, virtnetworkd" in shown
    repository.commit({"kvm01.yaml": HOST % ("virtqemud, virtnetworkd", "check")})
    assert "2 changes withheld, the Host sets `action: check`" in plan("--base", "main", ".").out
    git(repository.folder, "rm", "--quiet", "kvm01.yaml")
    git(repository.folder, "commit", "--quiet", "-m", "x")
    assert (
        "its manifest is removed; libvirt's daemons stay as they are"
        in plan("--base", "main", ".").out
    )


def test_a_clash_with_an_unchanged_file_is_found(repository: Repository) -> None:
    text = (repository.folder / "vm/a.yaml").read_text(encoding="utf-8")
    repository.commit({"vm/again.yaml": text.replace("1GiB", "2GiB")})
    done = plan("--base", "main", "vm")
    assert done.status == 65
    assert "VirtualMachine name a is already used at " in done.err


def test_an_invalid_manifest_is_told_and_the_others_are_planned(repository: Repository) -> None:
    repository.commit({"vm/a.yaml": "kind: VirtualMachin\n", **machines("b", memory="2GiB")})
    done = plan("--base", "main", "vm")
    assert done.status == 65
    assert "vm/a.yaml:1:" in done.err
    assert "~ b: 1 change" in done.out
    assert "will be created" not in done.out


def test_what_is_invalid_at_the_base_is_said_to_show_as_new(repository: Repository) -> None:
    repository.commit({"vm/a.yaml": "kind: VirtualMachin\n"})
    repository.commit(machines("a"))
    done = plan("--base", "work~1", "vm")
    assert "work~1:vm/a.yaml:1:" in done.err
    assert "what is wrong at work~1 counts as not there, and shows as new" in done.err
    assert "+ a: will be created" in done.out


def test_a_folder_that_the_base_does_not_have_is_all_new(repository: Repository) -> None:
    repository.commit({f"more/{name}.yaml": text for name, text in machines("x").items()})
    done = plan("--base", "main", "more")
    assert "more: no manifests at main; all of it is new" in done.err
    assert "+ x: will be created" in done.out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--base", "nope", "vm"], "there is no revision 'nope' in this repository"),
        (["--base", "--help", "vm"], "expected one argument"),
        (["--base", "main", "vm/a.yaml"], "vm/a.yaml: --base compares folders"),
        (["--head", "main", "vm"], "--head requires --base"),
        (["--base", "main", "--out", "p", "vm"], "--out and --base exclude each other"),
        (["--base", "main", "/"], "is not in a Git repository"),
    ],
)
def test_what_makes_no_sense_is_refused(
    repository: Repository, words: List[str], says: str
) -> None:
    done = plan(*words)
    assert (done.status, says in done.err) == (64, True), done.err


def test_a_folder_without_manifests_concludes_nothing(repository: Repository) -> None:
    (repository.folder / "empty").mkdir()
    done = plan("--base", "main", "empty")
    assert (done.status, done.out) == (4, "")
    assert "there are no manifests in empty" in done.err


def test_libvirt_is_not_even_imported(repository: Repository) -> None:
    repository.commit(machines("d"))
    script = (
        "import sys; sys.modules['libvirt'] = None\n"
        "from reconciler.cli import main; sys.exit(main(['plan', '--base', 'main', 'vm']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "+ d: will be created" in done.stdout


def test_the_same_is_the_same_to_the_byte(repository: Repository) -> None:
    repository.commit(
        {**machines("a", "d", memory="2GiB"), "vm/clone.yaml": CLONE + "---\n" + TEMPLATE}
    )
    for form in ("text", "markdown", "html", "json"):
        texts = {plan("--base", "main", "--format", form, "vm").out for _ in range(3)}
        assert len(texts) == 1
