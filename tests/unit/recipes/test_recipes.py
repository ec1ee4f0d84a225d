"""The recipes for CI, run on real clones as a pipeline would; the services are served here."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Dict, Iterator, List

import pytest
import yaml

from tests.unit.source.repositories import Repository, environment, git, machines

from .services import GITHUB, GITLAB, Comments

ROOT = Path(__file__).parents[3]
RECIPES = ROOT / "recipes"
MARKER = "<!-- virt-reconciler plan -->"


@pytest.fixture(params=["github", "gitlab"])
def pipeline(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Pipeline]:
    """Return the pipeline of a request that changes one machine, in a shallow clone."""
    shape = {"github": GITHUB, "gitlab": GITLAB}[request.param]
    found = Pipeline(request.param, tmp_path, Comments(shape))
    yield found
    found.comments.stop()


class Pipeline:
    """A recipe's job on a clone of one commit, as the services make it."""

    def __init__(self, service: str, folder: Path, comments: Comments) -> None:
        self.service, self.folder, self.comments = service, folder, comments
        files = {f"vms/{name}.yaml": text for name, text in self.vms("a", "b").items()}
        self.origin = Repository(folder / "origin", files)
        git(self.origin.folder, "checkout", "--quiet", "-b", "work")
        self.commit(self.vms("a", memory="2GiB"))
        self.install()

    @staticmethod
    def vms(*names: str, **options: str) -> Dict[str, str]:
        return {Path(one).stem: text for one, text in machines(*names, **options).items()}

    def commit(self, texts: Dict[str, str]) -> None:
        self.origin.commit({f"vms/{name}.yaml": text for name, text in texts.items()})

    def install(self) -> None:
        """Put the command on a PATH of its own."""
        command = self.folder / "bin" / "virt-reconciler"
        command.parent.mkdir()
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m reconciler "$@"\n', "ascii")
        command.chmod(0o755)

    def environment(self) -> Dict[str, str]:
        event = self.folder / "event.json"
        event.write_text('{"pull_request": {"number": 7}}', "ascii")
        common = {
            **environment(),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        }
        if self.service == "github":
            return {
                **common,
                "GITHUB_ACTIONS": "true",
                "GITHUB_BASE_REF": "main",
                "GITHUB_EVENT_PATH": str(event),
                "GITHUB_API_URL": self.comments.url,
                "GITHUB_REPOSITORY": "team/vms",
                "GITHUB_TOKEN": "geheim",
            }
        return {
            **common,
            "GITLAB_CI": "true",
            "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
            "CI_API_V4_URL": self.comments.url,
            "CI_PROJECT_ID": "3",
            "CI_MERGE_REQUEST_IID": "7",
            "VIRT_PLAN_TOKEN": "geheim",
        }

    def run(self) -> subprocess.CompletedProcess[str]:
        """Clone one commit and run the job's scripts; return the last that counts."""
        clone = self.folder / "clone"
        shutil.rmtree(clone, ignore_errors=True)
        url = f"file://{self.origin.folder}"
        git(self.folder, "clone", "--quiet", "--depth=1", "--branch=work", url, "clone")
        (clone / "ci").mkdir()
        for name in ("review.sh", "comment.py"):
            shutil.copy(RECIPES / name, clone / "ci")
        return self.run_github(clone) if self.service == "github" else self.run_gitlab(clone)

    def run_github(self, clone: Path) -> subprocess.CompletedProcess[str]:
        """Run each step as Actions does; the last one `always()`."""
        steps: List[Dict[str, Any]] = read("github.yml")["jobs"]["plan"]["steps"]
        scripts = {step["name"]: step["run"] for step in steps if "run" in step}
        assert list(scripts) == ["Install", "Fetch the base", "Plan", "Comment"]
        assert steps[-1]["if"].startswith("always()")
        assert self.shell(clone, scripts["Fetch the base"]).returncode == 0
        planned = self.shell(clone, scripts["Plan"])
        commented = self.shell(clone, scripts["Comment"])
        assert commented.returncode == 0, commented.stderr
        return planned

    def run_gitlab(self, clone: Path) -> subprocess.CompletedProcess[str]:
        """Run the lines in one shell, as the runner does."""
        return self.shell(clone, "\n".join(read("gitlab-ci.yml")["virt-plan"]["script"]))

    def shell(self, clone: Path, script: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            cwd=clone, env=self.environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip


def read(name: str) -> Dict[str, Any]:
    found: Dict[str, Any] = yaml.safe_load((RECIPES / name).read_text("utf-8"))
    return found


def test_a_plan_becomes_one_comment_that_is_updated(pipeline: Pipeline) -> None:
    pipeline.comments.bodies.update(dict.fromkeys(range(1, 151), "looks good"))
    done = pipeline.run()
    assert done.returncode == 0, done.stderr
    number, text = list(pipeline.comments.bodies.items())[-1]
    assert text.startswith(f"{MARKER}\n**Plan: 0 to create, 1 to change (1 next-boot, 0 restart)")
    assert "`b`" not in text

    pipeline.commit(pipeline.vms("b", memory="4GiB"))
    assert pipeline.run().returncode == 0
    assert len(pipeline.comments.bodies) == 151
    assert "0 to create, 2 to change" in pipeline.comments.bodies[number]
    assert pipeline.comments.bodies[1] == "looks good"
    assert all("geheim" in token for token in pipeline.comments.tokens)


def test_an_invalid_manifest_fails_the_job_and_is_in_the_comment(pipeline: Pipeline) -> None:
    pipeline.commit({"b": "kind: VirtualMachin\n"})
    done = pipeline.run()
    assert done.returncode == 65
    assert "vms/b.yaml:1:" in done.stderr
    [text] = pipeline.comments.bodies.values()
    assert text.startswith(MARKER)
    assert "\n    vms/b.yaml:1:" in text


def test_where_there_is_no_plan_the_comment_says_why(pipeline: Pipeline) -> None:
    git(pipeline.origin.folder, "rm", "--quiet", "-r", "vms")
    pipeline.commit({})
    pipeline.origin.write({"vms/readme": ""})
    pipeline.origin.commit({})
    done = pipeline.run()
    assert done.returncode == 4
    [text] = pipeline.comments.bodies.values()
    assert text.startswith(f"{MARKER}\n**There is no plan.**")
    assert "there are no manifests in vms" in text


def test_what_was_said_never_makes_a_comment_too_long(pipeline: Pipeline) -> None:
    bad = {f"x{number:04}": f"kind: {'Bad' * 50}\n" for number in range(900)}
    pipeline.commit(bad)
    assert pipeline.run().returncode == 65
    [text] = pipeline.comments.bodies.values()
    assert 60_000 < len(text.encode()) < 65_536


def test_a_comment_that_was_cut_within_a_letter_is_posted(pipeline: Pipeline) -> None:
    plan = pipeline.folder / "plan.md"
    plan.write_bytes(f"{MARKER}\nname é".encode()[:-1])
    script = f"{sys.executable} {RECIPES / 'comment.py'} {plan}"
    assert pipeline.shell(pipeline.folder, script).returncode == 0
    assert list(pipeline.comments.bodies.values()) == [f"{MARKER}\nname \N{REPLACEMENT CHARACTER}"]


def test_outside_of_a_pipeline_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "plan.md").write_text("x", "ascii")
    done = subprocess.run(
        [sys.executable, RECIPES / "comment.py", tmp_path / "plan.md"],
        env={}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (
        1,
        "comment.py: this is neither GitHub Actions nor GitLab CI\n",
    )


def test_a_fork_gets_no_more_rights_than_to_read() -> None:
    workflow = read("github.yml")
    assert workflow["permissions"] == {"contents": "read", "pull-requests": "write"}
    assert "pull_request_target" not in json.dumps(workflow, default=str)
