"""The one place that runs `git`, and how a remote is reached. Knows nothing of what for."""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import subprocess
from typing import IO, Dict, List, Mapping, Optional, Sequence, Tuple

from reconciler.adapters.clock import SYSTEM_CLOCK
from reconciler.core.frozen import frozen, regex
from reconciler.core.settings import GitSource
from reconciler.errors import TransientError

_FILE = "file://"
CREDENTIAL = "deploy_key"
_PASSWORD = regex(r"(?<=://)[^/\s]*@")


def find_key(settings: GitSource, credentials: Optional[str]) -> Optional[str]:
    """Return the deploy key's file: the setting, else systemd's credential of that name."""
    if settings.deploy_key is not None:
        return settings.deploy_key
    path = os.path.join(credentials, CREDENTIAL) if credentials else None
    return path if path and os.path.exists(path) else None


def ssh_environment(settings: GitSource, credentials: Optional[str]) -> Mapping[str, str]:
    """Return how git shall call ssh: never asking, never trusting an unknown host."""
    words = ["ssh", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]
    words += ["-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15"]
    key = find_key(settings, credentials)
    if key is not None:
        words += ["-i", key, "-o", "IdentitiesOnly=yes"]
    if settings.known_hosts is not None:
        words += ["-o", f"UserKnownHostsFile={settings.known_hosts}"]
    return {"GIT_SSH_COMMAND": " ".join(map(shlex.quote, words)), "GIT_SSH_VARIANT": "ssh"}


def local_folder(url: str) -> Optional[str]:
    """Return the folder of this host that an address means, or None."""
    path = url.removeprefix(_FILE)
    return path if path.startswith("/") else None


def hide_password(text: str) -> str:
    """Return a text without what stands before the host in an address."""
    return _PASSWORD.sub("", text)


LIMIT = 30.0  # seconds for what only reads what is here
MOST_OUTPUT = 2**20  # bytes, where nothing else is said
_READ = 2**16
_WRITE = 4096  # PIPE_BUF: so many are taken at once by a pipe that takes any

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


class TooMuchOutputError(TransientError):
    """git writes more than is held in memory."""


@frozen
class GitAnswer:
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
        lines = [line.strip() for line in self.errors.splitlines()]
        return "; ".join(line for line in lines if line) or f"exit status {self.status}"


def run_git(
    arguments: Sequence[str],
    *,
    environment: Optional[Mapping[str, str]] = None,
    given: bytes = b"",
    limit: float = LIMIT,
    most: int = MOST_OUTPUT,
) -> GitAnswer:
    """Run git; how it ended is the answer. Raises TransientError if it did not start or not end.

    No more than `most` bytes of its output are ever held: TooMuchOutputError.
    """
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
            output, errors = _talk(process, given, limit, most)
        except subprocess.TimeoutExpired as error:
            raise TransientError(f"git did not finish within {limit:.0f} s") from error
        finally:
            _end(process)
    return GitAnswer(process.returncode, output, errors.decode("utf-8", "backslashreplace"))


def _talk(
    process: subprocess.Popen[bytes], given: bytes, limit: float, most: int
) -> Tuple[bytes, bytes]:
    """Do what `communicate` does, and hold only so much of what is written."""
    assert process.stdin and process.stdout and process.stderr  # noqa: S101, PT018 - all are pipes
    deadline = SYSTEM_CLOCK.now() + limit
    out, err = process.stdout.fileno(), process.stderr.fileno()
    parts: Dict[int, List[bytes]] = {out: [], err: []}
    rest, size = memoryview(given), {out: 0, err: 0}
    with selectors.DefaultSelector() as selector:
        for pipe in (process.stdout, process.stderr):
            selector.register(pipe, selectors.EVENT_READ)
        if given:
            selector.register(process.stdin, selectors.EVENT_WRITE)
        else:
            process.stdin.close()
        while selector.get_map():
            for key, _ in selector.select(_left(process, deadline)):
                if key.fileobj is process.stdin:
                    rest = _write(process.stdin, rest)
                    if not rest:
                        selector.unregister(process.stdin)
                        process.stdin.close()
                    continue
                read = os.read(key.fd, _READ)
                size[key.fd] += len(read)
                if not read:
                    selector.unregister(key.fileobj)
                elif size[key.fd] <= most:
                    parts[key.fd].append(read)
                elif key.fd == out:
                    raise TooMuchOutputError(f"git wrote more than {most // 2**20} MiB")
    process.wait(_left(process, deadline))
    return b"".join(parts[out]), b"".join(parts[err])


def _left(process: subprocess.Popen[bytes], deadline: float) -> float:
    left = deadline - SYSTEM_CLOCK.now()
    if left <= 0:
        raise subprocess.TimeoutExpired(process.args, 0)
    return left


def _write(pipe: IO[bytes], rest: memoryview) -> memoryview:
    try:
        return rest[os.write(pipe.fileno(), rest[:_WRITE]) :]
    except BrokenPipeError:  # it has ended, and says why
        return memoryview(b"")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End what still runs, git's own children too: they hold the pipes."""
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)


@frozen
class Repository:
    """A repository. With `is_ours` the system's configuration does not matter either."""

    folder: str
    is_ours: bool = False
    extra: Tuple[Tuple[str, str], ...] = ()

    def run(
        self,
        *arguments: str,
        given: bytes = b"",
        limit: float = LIMIT,
        most: int = MOST_OUTPUT,
    ) -> GitAnswer:
        """Run a command in it; how it ended is the answer."""
        return run_git(
            (f"--git-dir={self.folder}", *_ALWAYS, *arguments),
            environment=make_environment(is_ours=self.is_ours, extra=dict(self.extra)),
            given=given,
            limit=limit,
            most=most,
        )

    def ask(self, *arguments: str, given: bytes = b"", most: int = MOST_OUTPUT) -> GitAnswer:
        """Run a command that is to succeed. Raises TransientError with git's words."""
        answer = self.run(*arguments, given=given, most=most)
        if answer.status != 0:
            raise TransientError(f"{self.folder}: git {arguments[0]} failed: {answer.words}")
        return answer


def is_foreign(words: str) -> bool:
    """Whether git said that it does not read a repository because it is another user's."""
    return "dubious ownership" in words


def explain_foreign(name: str) -> str:
    """Return what to do then."""
    return (
        f"{name}: the repository belongs to another user, so Git refuses to read it; change its "
        "owner to the user that virt-reconciler runs as, or as root: git config --system --add "
        f"safe.directory {name}"
    )


def make_environment(*, is_ours: bool, extra: Optional[Mapping[str, str]] = None) -> Dict[str, str]:
    """Return the environment for git: what is set for us, but for what tells git where to look."""
    made = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    made.update(_ENVIRONMENT)
    if is_ours:
        made["GIT_CONFIG_NOSYSTEM"] = "1"
    made.update(extra or {})
    return made
