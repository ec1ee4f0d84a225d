"""The one place that runs `git`. Knows how it is run safely, and nothing of what for.

A repository's own configuration can name commands: so none of what is run here looks at the index,
hooks are off, nothing is asked of a person, nothing is fetched that was not asked for, and each
command has a time limit, its children included.
"""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import dataclass
from typing import Dict, Mapping, Optional, Sequence, Tuple

from reconciler.errors import TransientError

LIMIT = 30.0  # seconds for what only reads what is here

_ALWAYS = ("-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false", "-c", "gc.autoDetach=0")
_ENVIRONMENT = {
    "LC_ALL": "C",  # messages are shown as they are, and some are recognised
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_REPLACE_OBJECTS": "1",  # a commit is what its name says
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "file:git:http:https:ssh",
}


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    status: int
    output: bytes
    errors: str

    @property
    def text(self) -> str:
        """The output as one stripped text, whatever bytes it has."""
        return os.fsdecode(self.output).strip()

    @property
    def words(self) -> str:
        """What git said is wrong, on one line."""
        lines = [one.strip() for one in self.errors.splitlines()]
        return "; ".join(one for one in lines if one) or f"exit status {self.status}"


def run_git(
    arguments: Sequence[str],
    *,
    environment: Optional[Mapping[str, str]] = None,
    given: bytes = b"",
    limit: float = LIMIT,
) -> Answer:
    """Run git; how it ended is the answer. Raises TransientError if it did not start or not end."""
    try:
        process = subprocess.Popen(
            ["git", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
    except OSError as error:
        raise TransientError(f"git cannot be run: {error.strerror or error}") from error
    with process:
        try:
            output, errors = process.communicate(given, limit)
        except subprocess.TimeoutExpired as error:
            raise TransientError(f"git did not end within {limit:.0f} s") from error
        finally:
            _end(process)
    return Answer(process.returncode, output, errors.decode("utf-8", "backslashreplace"))


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what still runs, git's own children too: they hold the pipes."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)


@dataclass(frozen=True)
class Repository:
    """A repository. With `is_ours` the system's configuration does not matter either."""

    folder: str
    is_ours: bool = False
    extra: Tuple[Tuple[str, str], ...] = ()

    def run(self, *arguments: str, given: bytes = b"", limit: float = LIMIT) -> Answer:
        """Run a command in it; how it ended is the answer."""
        return run_git(
            (f"--git-dir={self.folder}", *_ALWAYS, *arguments),
            environment=make_environment(is_ours=self.is_ours, extra=dict(self.extra)),
            given=given,
            limit=limit,
        )

    def ask(self, *arguments: str, given: bytes = b"", limit: float = LIMIT) -> Answer:
        """Run a command that is to succeed. Raises TransientError with git's words."""
        answer = self.run(*arguments, given=given, limit=limit)
        if answer.status != 0:
            raise TransientError(f"{self.folder}: git {arguments[0]} failed: {answer.words}")
        return answer


def is_foreign(words: str) -> bool:
    """Whether git said that it does not read a repository because it is another user's."""
    return "dubious ownership" in words


def explain_foreign(name: str) -> str:
    """Return what to do then."""
    return (
        f"{name}: Git does not read a repository of another user; give it to the user that "
        f"virt-reconciler runs as, or as root: git config --system --add safe.directory {name}"
    )


def make_environment(*, is_ours: bool, extra: Optional[Mapping[str, str]] = None) -> Dict[str, str]:
    """Return the environment for git: what is set for us, but for what tells git where to look."""
    made = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    made.update(_ENVIRONMENT)
    if is_ours:
        made["GIT_CONFIG_NOSYSTEM"] = "1"
    made.update(extra or {})
    return made
