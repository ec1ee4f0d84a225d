"""What a person at the terminal sees and answers; a plan's formats. On the start-up path.

The core is imported by the method that needs it.
"""

from __future__ import annotations

import io
import os
import pwd
import sys
from contextlib import contextmanager, suppress
from enum import IntEnum
from typing import TYPE_CHECKING, Callable, Iterator, Mapping, TextIO

from reconciler.core.frozen import frozen
from reconciler.errors import OutputError, UsageError

if TYPE_CHECKING:
    from reconciler.core.plan import Plan
    from reconciler.core.render.text import Style


@frozen
class Format:
    """How a plan is written; `verbose` lists unchanged objects where a format leaves them out.

    `with_revision`: Git is asked for the manifests' commit, which takes time.
    """

    write: Callable[[Plan, Style, bool], str]
    with_revision: bool = True


def _text(plan: Plan, style: Style, verbose: bool) -> str:  # noqa: FBT001 - a row's signature
    from reconciler.core.render.text import render_text  # noqa: PLC0415

    return render_text(plan, style, verbose=verbose)


def _markdown(plan: Plan, _style: Style, _verbose: bool) -> str:  # noqa: FBT001
    from reconciler.core.render.markdown import render_markdown  # noqa: PLC0415

    return render_markdown(plan)


def _html(plan: Plan, _style: Style, _verbose: bool) -> str:  # noqa: FBT001
    from reconciler.core.render.html import render_html  # noqa: PLC0415

    return render_html(plan)


def _json(plan: Plan, _style: Style, _verbose: bool) -> str:  # noqa: FBT001
    from reconciler.core.render.json import render_json  # noqa: PLC0415

    return render_json(plan)


PLAN_FORMATS: Mapping[str, Format] = {
    "text": Format(_text, with_revision=False),
    "markdown": Format(_markdown),
    "html": Format(_html),
    "json": Format(_json),
}


PREFIX = "virt-reconciler"
ROOT = 0


class Exit(IntEnum):
    """What a command ended with; scripts rely on it (public contract)."""

    DONE = 0
    FAILED = 1
    CHANGES = 2
    DISTURBING_CHANGES = 3
    REFUSED = 4
    USAGE = 64
    INVALID = 65
    INTERRUPTED = 130
    BROKEN_PIPE = 141


@frozen
class Console:
    """Where a command reads and writes; `environ` says how output should look, and who calls."""

    out: TextIO
    err: TextIO
    answers: TextIO
    environ: Mapping[str, str]

    @classmethod
    def of_process(cls) -> Console:
        """Return this process's own; what a stream cannot encode is escaped, never a crash.

        A stream that was closed before we started is None.
        """
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")
        out, err, answers = (
            io.StringIO() if stream is None else stream
            for stream in (sys.stdout, sys.stderr, sys.stdin)
        )
        return cls(out, err, answers, os.environ)

    def style(self) -> Style:
        """How standard output may be dressed (https://no-color.org)."""
        from reconciler.core.render.text import Style  # noqa: PLC0415 - start-up time

        plain = bool(self.environ.get("NO_COLOR")) or self.environ.get("TERM") == "dumb"
        return Style(colour=self.out.isatty() and not plain, unicode=_can_show("→", self.out))

    def width(self) -> int:
        """How many columns standard output has; 0 if it is no terminal."""
        if not self.out.isatty():
            return 0
        import shutil  # noqa: PLC0415 - start-up time: it loads what unpacks archives

        return shutil.get_terminal_size().columns

    @property
    def can_rewrite(self) -> bool:
        """Whether a line on standard output can be rewritten in place."""
        return self.out.isatty() and self.environ.get("TERM") != "dumb"

    def write(self, text: str) -> None:
        """Write to standard output, at once: progress is of no use later.

        Raises BrokenPipeError where nobody reads any more, and OutputError for a full disk.
        """
        with _output("standard output"):
            self.out.write(text)
            self.out.flush()

    def line(self, text: str = "") -> None:
        """Write one line to standard output."""
        self.write(f"{text}\n")

    def error(self, text: str) -> None:
        """Write one error line to standard error; libvirt's own text may have several."""
        from reconciler.core.render.words import escape  # noqa: PLC0415 - start-up time

        self.complain(f"{PREFIX}: error: {escape(text)}")

    def note(self, text: str) -> None:
        """Write a line to standard error that is no error."""
        from reconciler.core.render.words import escape  # noqa: PLC0415 - start-up time

        self.complain(f"{PREFIX}: note: {escape(text)}")

    def complain(self, text: str) -> None:
        """Write a line to standard error as it is, even if standard output is full."""
        with suppress(OutputError), _output("standard output"):
            self.out.flush()
        with _output("standard error"):
            self.err.write(f"{text}\n")
            self.err.flush()

    def confirm(self, question: str, otherwise: str) -> bool:
        """Ask for a yes; `otherwise` is what has not happened without one.

        Raises UsageError where nobody is there to answer.
        """
        if not self.answers.isatty():
            raise UsageError(f"{otherwise}: there is no terminal to ask on; give --yes")
        return self._ask(f"{question} [y/N] ") in ("y", "yes")

    def _ask(self, question: str) -> str:
        """Ask where the person sees it; the empty string if there is no answer."""
        stream = self.out if self.out.isatty() else self.err
        stream.write(question)
        stream.flush()
        answer = self.answers.readline()
        if not answer.endswith("\n"):
            stream.write("\n")
        return answer.strip().lower()


@contextmanager
def _output(name: str) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        advice = "make room where it goes, and run this again"
        raise OutputError(f"{name} cannot be written: {error.strerror}; {advice}") from error


def _can_show(text: str, stream: TextIO) -> bool:
    try:
        text.encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def find_caller(environ: Mapping[str, str]) -> str:
    """Return the user's name; its number if it has none.

    What sudo says is believed only as root: anybody else may have set it.
    """
    number = os.getuid()
    behind = environ.get("SUDO_USER", "")
    if number == ROOT and behind:
        return behind
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
