"""Follow a page as a reader would: write its files, type its commands, see what comes out.

A page has files (a name in backquotes on a line of its own, then a block of YAML) and blocks of
`console`, where a line `$ command` is followed by its output. A comment `<!-- wait: TEXT -->` above a
block stands for a reader's patience: its command is given again until that is to be seen.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Optional, Tuple, Type

from tests.lab.host import LabHost

HOME = "/root"  # of the reader
LIMIT = 180.0  # seconds, for what the page waits for
BLOCK = re.compile(
    r"(?:^<!-- wait: (?P<wait>[^\n]+) -->\n\n)?(?:^`(?P<name>\S+)`\n\n)?"
    r"^```(?P<kind>console|yaml)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)

# What is another at each reader's, kind by kind. Nothing else may differ.
KINDS = {
    "time": r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ",
    "age": r"(?<=in force for )\S+|(?<=CHANGED) +|\b\d+[smh] ago +",
    "process": r"(?<=running, process )\d+",
    "UUID": r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b",
    "digest": r"\b[0-9a-f]{12}\b",
    # How often it is told hangs on how quick the host is, and the size on its qemu-img.
    "progress": r"(?m)(?:^\S+: \S+: +\d+% of .*\n)+",
}
# A daemon of the machine that the test runs on is none of the reader's, nor is its state: on an
# empty folder that is read-only, a command keeps its own.
ENTER = """
for one in /etc/virt-reconciler /var/lib/virt-reconciler; do
  if [ -d "$one" ]; then mount -t tmpfs -o ro none "$one"; fi
done
exec bash --norc
"""
END = "\x04"  # no output has it


def normal(text: str) -> str:
    """Return an output without what may differ."""
    for kind, pattern in KINDS.items():
        text = re.sub(pattern, f"<{kind}>", text)
    return "\n".join(line.rstrip() for line in text.split("\n")).strip("\n")


class Reader:
    """Somebody at a shell of a private host, which takes it for the machine's own."""

    def __init__(self, host: LabHost, home: Path) -> None:
        """Sit down."""
        self._home = home
        settings = {
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "LANG": "C.UTF-8",
            "PYTHONPATH": os.environ.get("PYTHONPATH", ""),  # another work tree's than installed
        }
        inside = ["nsenter", "-t", str(host.pid()), "-m", "-n", "unshare", "-m"]
        self._shell = subprocess.Popen(
            [*inside, "bash", "-c", ENTER],
            env=settings, cwd=home, text=True, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def type(self, command: str) -> Tuple[int, str]:
        """Return a command's exit status, and what it printed, as if on the page's host."""
        pipe, out = self._shell.stdin, self._shell.stdout
        assert pipe is not None
        assert out is not None
        pipe.write(f"{{ {command}\n}} </dev/null; printf '{END}%d\\n' $?\n")
        pipe.flush()
        text = ""
        for line in out:
            text += line
            if END in line:
                break
        printed, _, status = text.rpartition(END)
        return int(status), self._seen(printed)

    def _seen(self, text: str) -> str:
        name = re.escape(socket.gethostname())
        text = re.sub(rf"(?m)^{name} (?=\(qemu:///system\)$)", "kvm01 ", text)
        return text.replace(str(self._home), HOME)

    def write(self, name: str, text: str) -> None:
        """Write a file as the page shows it, in the folder where the shell is."""
        _, folder = self.type("pwd")
        path = folder.strip().replace(HOME, str(self._home), 1)
        Path(path, name).write_text(text.replace(HOME, str(self._home)), encoding="utf-8")

    def __enter__(self) -> Reader:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: Optional[Type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        """Leave, and take along what runs yet."""
        os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.communicate()


@dataclass(frozen=True)
class Following:
    """One reader who follows a page; returns it with what was really seen.

    `must_agree`: raise at the first output that is not the page's.
    """

    reader: Reader
    must_agree: bool

    def follow(self, page: str) -> str:
        """Return the page; an output that differs in nothing that counts stays as it was."""
        done, count = BLOCK.subn(self._do, page)
        assert count == len(re.findall(r"^```\w", page, re.MULTILINE)), "a block was passed over"
        return done

    def _do(self, block: re.Match[str]) -> str:
        text = block["text"]
        if block["kind"] == "yaml":
            assert block["name"], f"which file is this?\n{text}"
            self.reader.write(block["name"], text)
            return block[0]
        assert text.startswith("$ "), text
        done = "".join(self._type(block["wait"], *command) for command in COMMAND.findall(text))
        return block[0].replace(text, done.rstrip("\n") + "\n")

    def _type(self, wait: Optional[str], command: str, shown: str) -> str:
        status, seen = self._wait(wait, command, shown) if wait else self.reader.type(command)
        assert status == 0, f"$ {command}\n{seen}"
        if normal(seen) == normal(shown):
            return f"$ {command}\n{shown}"
        assert not self.must_agree, _differ(command, shown, seen)
        return f"$ {command}\n{seen}"

    def _wait(self, wait: str, command: str, shown: str) -> Tuple[int, str]:
        """Return what is seen when it is as shown, or, if that is to be found out, when it rests."""
        deadline, before = time.monotonic() + LIMIT, ""
        while True:
            status, seen = self.reader.type(command)
            now = normal(seen)
            rests = now == (normal(shown) if self.must_agree else before)
            if (wait in seen and rests) or time.monotonic() > deadline:
                return status, seen
            before = now
            time.sleep(1)


def _differ(command: str, shown: str, seen: str) -> str:
    return f"$ {command}\n--- the page shows\n{normal(shown)}\n--- and there is\n{normal(seen)}"
