"""One command of the product that dies, as by kill -9, at the Nth change that it makes to the host.

Changes are counted where they leave the process: libvirt's own calls that are no reading, the
kernel's calls that change files, children, and each line that a child says. So no layer of the
product is left out, and between two of them nothing of the host can be different.
"""

from __future__ import annotations

import fcntl
import importlib
import io
import json
import os
import pkgutil
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Callable, Iterator, List, Mapping, Sequence, Tuple

import reconciler
from reconciler.adapters.child_programs import ChildProgram
from reconciler.adapters.clock import SystemClock
from reconciler.adapters.libvirt import binding
from reconciler.adapters.libvirt.host import connect
from reconciler.cli.console import Console
from reconciler.cli.run import run
from reconciler.cli.services import Services
from reconciler.control.prune import plan_deletions
from reconciler.core.manifest import Desired
from tests.execution import execute
from tests.lab.keys import vm
from tests.real.worlds import Silent

READS = re.compile(
    r"^vir(Initialize|ErrorSetFunc|RegisterErrorHandler|Event|Connect|NodeGet|StreamNew)"
    r"|Get|Has|List|Lookup|NumOf|Is[A-Z]|Ref$|Free$|Refresh|Recv|Ping|QemuAgent|InterfaceAddresses"
)
KERNEL: Tuple[Tuple[Any, str], ...] = (
    *((os, name) for name in ("rename", "replace", "link", "unlink", "setxattr", "fsync")),
    (fcntl, "ioctl"),
)
MIB = 2**20
CHECKOUT = Path(__file__).parents[2]
END = "the end"
DELETE = "delete"  # what no verb does: the end of a machine whose manifest is gone


@dataclass
class Points:
    """Counts the changes; at the one of that number this process ends. Each is written to a file.

    Changes of files below the folder `apart` are not counted.
    """

    number: int
    journal: int
    apart: str = ""
    count: int = 0
    sent: int = 0

    def pass_one(self, name: str) -> None:
        """Count one that is about to happen."""
        self.count += 1
        os.write(self.journal, f"{name}\n".encode())
        if self.count == self.number:
            os.kill(os.getpid(), signal.SIGKILL)

    def counting(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function, counted before each call."""

        def counted(*arguments: Any, **named: Any) -> Any:
            path = find_path(named.get("dir_fd", arguments[0]))
            if not (self.apart and path.startswith(self.apart)):
                self.pass_one(name)
            return function(*arguments, **named)

        return counted

    def sending(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return what sends parts of a file, counted at the first byte and at each MiB.

        How large a part is depends on what came over the network.
        """

        def counted(stream: Any, part: Any, *arguments: Any) -> Any:
            before = self.sent
            self.sent += part if isinstance(part, int) else len(part)
            if not before or before // MIB != self.sent // MIB:
                self.pass_one(name)
            return function(stream, part, *arguments)

        return counted

    def watch(self) -> None:
        """Count all changes from now on."""
        libvirt: Any = binding.libvirt  # type: ignore[attr-defined]
        libvirt.libvirtmod = CountedBinding(libvirt.libvirtmod, self)
        for owner, name in KERNEL:
            setattr(owner, name, self.counting(name, getattr(owner, name)))
        follow = ChildProgram._follow

        def followed(program: ChildProgram, process: Any) -> Iterator[str]:
            for line in follow(program, process):
                if line:
                    self.pass_one(line)
                yield line

        setattr(ChildProgram, "_follow", followed)  # noqa: B010 - mypy forbids the other way


def find_path(file: object) -> str:
    """Return the path of a file, given by it or by its number; empty for what is no file."""
    if isinstance(file, int):
        return os.readlink(f"/proc/self/fd/{file}")
    return str(file) if isinstance(file, (str, os.PathLike)) else ""


class CountedBinding:
    """libvirt's C functions, each counted that may change something."""

    def __init__(self, functions: Any, points: Points) -> None:
        """Stand before them."""
        self._functions, self._points = functions, points

    def __getattr__(self, name: str) -> Any:
        """Return a function."""
        found = getattr(self._functions, name)
        if not name.startswith("vir") or READS.search(name):
            return found
        if name.startswith("virStreamSend"):
            return self._points.sending(name, found)
        self._points.sent = 0
        return self._points.counting(name, found)


def execute_command(uri: str, words: Sequence[str], environ: Mapping[str, str]) -> Tuple[int, str]:
    """Run a command in this process; return its exit status and all it said."""
    out = io.StringIO()
    if words[0] == DELETE:
        host = connect(uri)
        todo = plan_deletions(host, map(vm, words[1:]))
        outcomes = execute(host, Desired(), todo, Silent(), SystemClock())
        errors = [outcome.error for outcome in outcomes if outcome.error]
        return len(errors), "\n".join(errors)
    console = Console(out, out, io.StringIO(), environ)
    status = run(["--connect", uri, *words], console, Services.from_options)
    return status, out.getvalue()


@dataclass(frozen=True)
class Order:
    """A command, and at which of its points it dies. What it passes is written to `journal`."""

    uri: str
    words: Sequence[str]
    environ: Mapping[str, str]
    number: int
    journal: str
    apart: str = ""


def _die(order: Order) -> None:
    """Run a command that ends at its point."""
    journal = os.open(order.journal, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    points = Points(order.number, journal, order.apart)
    points.watch()
    status, said = execute_command(order.uri, order.words, order.environ)
    points.pass_one(END)
    os.write(journal, said.encode())
    os._exit(status)


@dataclass(frozen=True)
class Forge:
    """A process that has loaded the product, and from which one is forked for each command.

    Starting one anew would take most of the time. It has no thread and no connection.
    """

    process: subprocess.Popen[str]

    @classmethod
    @contextmanager
    def open(cls) -> Iterator[Forge]:
        """Start it; it ends with the block."""
        command = [sys.executable, "-m", "tests.real.killed_points"]
        with subprocess.Popen(
            command, cwd=CHECKOUT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process:
            yield cls(process)
            process.communicate()

    def run(self, order: Order) -> Tuple[int, List[str]]:
        """Run a command that dies at a point; return its exit code, and what it passed."""
        pipe, answers = self.process.stdin, self.process.stdout
        assert pipe is not None
        assert answers is not None
        pipe.write(f"{json.dumps(asdict(order))}\n")
        pipe.flush()
        code = int(answers.readline())
        return code, Path(order.journal).read_text(encoding="utf-8").splitlines()


def main() -> None:
    """Carry out the orders that come, one after the other."""
    for module in pkgutil.walk_packages(reconciler.__path__, "reconciler."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            _die(Order(**json.loads(line)))
        status = os.waitpid(child, 0)[1]
        code = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        print(code, flush=True)  # noqa: T201 - what the test reads


if __name__ == "__main__":
    main()
