"""The process's streams, and what can be shown on them. Knows no verb and no domain word.

On the start-up path: the core is imported by the method that needs it.
"""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Mapping, TextIO

if TYPE_CHECKING:
    from reconciler.core.render.style import Style

PREFIX = "virt-reconciler"


@dataclass(frozen=True)
class Console:
    """Where a command reads and writes; `environ` says how output should look, and who calls."""

    out: TextIO
    err: TextIO
    answers: TextIO
    environ: Mapping[str, str]

    @classmethod
    def of_process(cls) -> Console:
        """Return this process's own; what a stream cannot encode is escaped, never a crash."""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        return cls(sys.stdout, sys.stderr, sys.stdin, os.environ)

    def style(self) -> Style:
        """How standard output may be dressed (https://no-color.org)."""
        from reconciler.core.render.style import Style  # noqa: PLC0415 - start-up time

        plain = bool(self.environ.get("NO_COLOR")) or self.environ.get("TERM") == "dumb"
        return Style(colour=self.out.isatty() and not plain, unicode=_can_show("→", self.out))

    def width(self) -> int:
        """How many columns standard output has; 0 if it is no terminal."""
        return shutil.get_terminal_size().columns if self.out.isatty() else 0

    @property
    def can_rewrite(self) -> bool:
        """Whether a line on standard output can be rewritten in place."""
        return self.out.isatty() and self.environ.get("TERM") != "dumb"

    def write(self, text: str) -> None:
        """Write to standard output, at once: progress is of no use later."""
        self.out.write(text)
        self.out.flush()

    def line(self, text: str = "") -> None:
        """Write one line to standard output."""
        self.write(f"{text}\n")

    def error(self, text: str) -> None:
        """Write one error line to standard error; libvirt's own text may have several."""
        from reconciler.core.render.values import escape  # noqa: PLC0415 - start-up time

        self.complain(f"{PREFIX}: error: {escape(text)}")

    def note(self, text: str) -> None:
        """Write a line to standard error that is no error."""
        from reconciler.core.render.values import escape  # noqa: PLC0415 - start-up time

        self.complain(f"{PREFIX}: note: {escape(text)}")

    def complain(self, text: str) -> None:
        """Write a line to standard error as it is."""
        self.out.flush()
        self.err.write(f"{text}\n")
        self.err.flush()

    def can_ask(self) -> bool:
        """Whether a person is there to answer."""
        return self.answers.isatty()

    def ask(self, question: str) -> str:
        """Ask where the person sees it; the empty string if there is no answer."""
        stream = self.out if self.out.isatty() else self.err
        stream.write(question)
        stream.flush()
        answer = self.answers.readline()
        if not answer.endswith("\n"):
            stream.write("\n")
        return answer.strip().lower()


def _can_show(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
