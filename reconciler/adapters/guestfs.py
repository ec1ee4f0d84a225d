"""Change an image without starting it, or read what is in it: the only place that runs libguestfs.

`virt-sysprep` and `virt-customize` change clones; `virt-win-reg` and `virt-cat` read a Windows and
never write to it. Each starts a small virtual machine of its own, the appliance, which has the
image as a disk. It is run as a child in a process group of its own. Whatever ends this process,
also kill -9, ends the child (the kernel's parent-death signal), and libguestfs then ends the
appliance. No secret is in a command line, an environment or a file: texts are in memory, and reach
it as open files.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import subprocess
import tempfile
from contextlib import ExitStack
from typing import (
    Any,
    Callable,
    FrozenSet,
    List,
    Mapping,
    NamedTuple,
    Optional,
    Protocol,
    Tuple,
)

from reconciler.adapters.child_programs import (
    ENDS_WITH_US,
    ChildProgram,
    ask,
    end_group,
    find_kernel_lack,
    make_guestfs_environ,
    may_write,
)
from reconciler.adapters.clock import SYSTEM_CLOCK
from reconciler.adapters.text_files import sync_path
from reconciler.core.frozen import regex
from reconciler.core.preparation import (
    CLOUD_INIT,
    Injection,
    PreparationTask,
    PreparationTools,
    list_injections,
)
from reconciler.core.windows_images import (
    BITLOCKER,
    CONTROLLER,
    DAMAGED,
    HIBERNATED,
    NO_WINDOWS,
    SEALED,
    STATE_FILE,
    STATE_KEY,
    STATE_VALUE,
    WindowsImage,
    read_state,
)
from reconciler.errors import MissingError, TerminalError, TransientError

PROGRAM = "virt-sysprep"
CUSTOMIZER = "virt-customize"
LIMIT = 1800.0  # seconds; without KVM on a busy host the appliance alone takes minutes
_LINE = regex(r"\[\s*[\d.]+\] (?P<what>.*?)(?: \.\.\.)?")
_ERROR = regex(r"virt-(?:sysprep|customize): error: (?P<words>.*)")
_OPTION = regex(r"^\s+(?P<name>--[a-z-]+)", re.MULTILINE)
_LAST_LINES = 5
_NO_SYSTEM = (
    "no operating systems were found",
    "no operating system was found",
    "no operating system could be detected",
)
CUSTOMIZE = "customize"  # the operation of virt-sysprep's that its other options belong to
READ_LIMIT = 600.0  # seconds, for all that is read in one image
READERS = ("virt-win-reg", "virt-cat", "virt-filesystems")
MOST_READ = 65536  # bytes of what a program writes; of a file that is longer the begin is enough
_PRODUCT = r"HKLM\SYSTEM\ControlSet001\Control\ProductOptions"
_CONTROLLER = "LanmanNT"  # ProductType; a server is ServerNT, a client WinNT
_HIBERNATION_FILE = "/hiberfil.sys"
_HIBERNATED = frozenset({b"hibr", b"HIBR"})  # how it begins, as ntfs-3g knows it
_ANSWER_FILES = ("/Windows/Panther/unattend.xml", "/Windows/Panther/Unattend/unattend.xml")


class Known(Protocol):
    """What remembers what was read in an image, as long as it is the same one."""

    def find(self, path: str) -> Tuple[Any, Optional[WindowsImage]]:
        """Return what identifies the image at a path now, and what is known of it."""

    def keep(self, identity: Any, image: WindowsImage) -> None:
        """Remember it."""


class VirtSysprep:
    """Implements `preparation.Preparer`, with the settings of that environment."""

    def __init__(
        self,
        environ: Mapping[str, str],
        known: Optional[Known] = None,
        tell: Callable[[str], None] = lambda _text: None,
    ) -> None:
        """Start nothing yet. `known` remembers what was read in images.

        `tell` gets a line before something is read that takes long.
        """
        self._known, self._tell = known, tell
        self._environ = make_guestfs_environ(environ)

    def find_tools(self, folder: str) -> PreparationTools:
        """Return the version of virt-sysprep and its operations."""
        if shutil.which(PROGRAM, path=self._environ.get("PATH")) is None:
            raise MissingError(
                f"the program {PROGRAM} is needed to prepare clones and not installed: dnf install "
                "guestfs-tools, apt install guestfs-tools"
            )
        lack = find_kernel_lack(PROGRAM, self._environ)
        if lack:
            raise MissingError(lack)
        if not may_write(folder):
            raise MissingError(
                f"clones in {folder} can only be prepared by root, whom their files belong to; run "
                "virt-reconciler apply as root, or give the daemon the rights of "
                "/usr/share/doc/virt-reconciler/prepare.conf"
            )
        version = ask([PROGRAM, "--version"], self._environ).rpartition(" ")[2].strip()
        lines = ask([PROGRAM, "--list-operations"], self._environ).splitlines()
        return PreparationTools(
            version=version,
            operations=frozenset(line.split()[0] for line in lines if line),
            options=self._find_options(),
        )

    def _find_options(self) -> FrozenSet[str]:
        """Return the options of virt-customize; none where it does not work."""
        try:
            help_ = ask([CUSTOMIZER, "--help"], self._environ)
        except MissingError:
            return frozenset()
        return frozenset(found["name"] for found in _OPTION.finditer(help_))

    def prepare(self, task: PreparationTask, tell: Callable[[str], None]) -> None:
        """Prepare an image, and return when it is on disk."""
        if task.seals:
            with ExitStack() as files:
                arguments, numbers = _write_arguments(task, files)
                self._run([PROGRAM, *arguments, *_find_operations(task)], numbers, tell)
        if task.injection is not None:
            self._run(_write_injection(task, task.injection), (), tell)
        sync_path(task.path)

    def read_windows(self, path: str, image_format: str) -> WindowsImage:
        """Return what is read in an image, which is opened for reading only.

        What was read is remembered until the image is another one. Raises TransientError where
        libguestfs does not work.
        """
        identity, image = None, None
        if self._known is not None and os.path.exists(path):
            identity, image = self._known.find(path)
        if image is not None:
            return image
        hindrance = self._find_hindrance(path)
        if hindrance:
            return WindowsImage(unchecked=hindrance)
        self._tell(f"reading in {path} whether its Windows is generalized; it may take minutes")
        image = _Reader(self._environ, path, image_format).read()
        if self._known is not None:
            self._known.keep(identity, image)
        return image

    def _find_hindrance(self, path: str) -> str:
        """Return why nothing can be read in an image; empty if something can."""
        missing = [
            name for name in READERS if shutil.which(name, path=self._environ.get("PATH")) is None
        ]
        if missing:
            return (
                f"the program {missing[0]} is not installed: dnf install guestfs-tools "
                "libguestfs-winsupport, apt install guestfs-tools"
            )
        if find_kernel_lack("libguestfs", self._environ):
            return "libguestfs needs a kernel in /boot that this user can read"
        if not os.path.exists(path):
            return f"{path} is not there yet"
        if not os.access(path, os.R_OK):
            return f"{path} can only be read by root"
        return ""

    def _run(self, words: List[str], numbers: Tuple[int, ...], tell: Callable[[str], None]) -> None:
        lines: List[str] = []
        doing = ""

        def follow(line: str) -> None:
            nonlocal doing
            found = _LINE.fullmatch(line)
            doing = found["what"] if found else doing
            tell(doing)

        program = ChildProgram(
            words=tuple(words),
            environ=self._environ,
            limit=LIMIT,
            files=numbers,
            too_long="see how long its appliance takes on this host: libguestfs-test-tool",
        )
        status = program.run(follow, lines)
        if status:
            raise _explain(words[0], lines, status)


class _Output(NamedTuple):
    """What a program wrote, and whether it succeeded."""

    content: bytes
    errors: str
    is_done: bool

    @property
    def text(self) -> str:
        return self.content.decode(errors="replace")


class _Reader:
    """Reads one image."""

    def __init__(self, environ: Mapping[str, str], path: str, image_format: str) -> None:
        self._environ, self._path, self._format = environ, path, image_format
        self._deadline = SYSTEM_CLOCK.now() + READ_LIMIT

    def read(self) -> WindowsImage:
        """Read the registry, then the file; where neither tells, find out why."""
        found = self._read_registry(STATE_KEY, STATE_VALUE)
        state = read_state(found.text) if found.is_done else ""
        if not state and any(known in found.errors.lower() for known in _NO_SYSTEM):
            return WindowsImage(fault=BITLOCKER if self._is_encrypted() else NO_WINDOWS)
        if state and state != SEALED:
            return WindowsImage(state, why=self._find_reason())
        files = self._read_files(STATE_FILE, *_ANSWER_FILES)
        state = state or read_state(files.text)
        if state:
            why = "" if state == SEALED else self._find_reason()
            return WindowsImage(state, why=why, has_answers="<unattend" in files.text)
        if "hive" in f"{found.errors}{files.errors}".lower():
            return WindowsImage(fault=DAMAGED)
        raise TransientError(
            f"{self._path}: whether its Windows is generalized cannot be read: "
            f"{' '.join((found.errors or files.errors).split()) or 'libguestfs says nothing'}; if "
            "its appliance does not start: libguestfs-test-tool; if only the daemon cannot start "
            "it: run virt-reconciler plan as root once, which the daemon then knows of"
        )

    def _find_reason(self) -> str:
        """Return what stands in the way of sysprep; empty where nothing is known to."""
        if self._read_registry(_PRODUCT, "ProductType").text.strip() == _CONTROLLER:
            return CONTROLLER
        begin = self._read_files(_HIBERNATION_FILE).content[:4]
        return HIBERNATED if begin in _HIBERNATED else ""

    def _is_encrypted(self) -> bool:
        """Whether the largest part of the disk is encrypted by BitLocker.

        libguestfs lists no such file system; the mount that it tries says what it is.
        """
        arguments = (f"--format={self._format}", "-a", self._path)
        listed = self._ask("virt-filesystems", *arguments, "--all", "--long", "--csv").text
        rows = [line.split(",") for line in listed.splitlines()[1:]]
        parts = [row for row in rows if row[1] in ("partition", "device")]
        if not parts:
            return False
        largest = max(parts, key=lambda row: (row[1] == "partition", int(row[5])))[0]
        return "BitLocker" in self._ask("virt-cat", *arguments, "-m", f"{largest}:/", "/x").errors

    def _read_registry(self, key: str, value: str) -> _Output:
        return self._ask("virt-win-reg", "--format", self._format, self._path, key, value)

    def _read_files(self, *names: str) -> _Output:
        return self._ask("virt-cat", f"--format={self._format}", "-a", self._path, *names)

    def _ask(self, program: str, *arguments: str) -> _Output:
        """Run a program; what it writes beyond the limit is not waited for."""
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(
                [*ENDS_WITH_US, program, *arguments],
                env=self._environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
            try:
                content = self._collect(process)
                is_done = len(content) < MOST_READ and process.wait() == 0
            finally:
                end_group(process)
            errors.seek(0)
            return _Output(content, errors.read(MOST_READ).decode(errors="replace"), is_done)

    def _collect(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        number, content = process.stdout.fileno(), b""
        while len(content) < MOST_READ:
            left = self._deadline - SYSTEM_CLOCK.now()
            if left <= 0 or not select.select([number], [], [], left)[0]:
                raise TransientError(
                    f"{self._path}: whether its Windows is generalized could not be read within "
                    f"{READ_LIMIT / 60:.0f} minutes; see how long libguestfs' appliance takes on "
                    "this host: libguestfs-test-tool"
                )
            block = os.read(number, 4096)
            if not block:
                break
            content += block
        return content


def _find_operations(task: PreparationTask) -> List[str]:
    """Return the options for the operations; without one virt-sysprep takes its own defaults."""
    if task.operations is None:
        return []
    names = [name for name in task.operations if name not in (CLOUD_INIT, CUSTOMIZE)]
    return ["--operations", ",".join([*names, CUSTOMIZE])]


def _write_injection(task: PreparationTask, injection: Injection) -> List[str]:
    """Return the command that puts drivers into a Windows, whose registry virt-customize edits."""
    options = [word for pair in list_injections(injection) for word in pair]
    return [CUSTOMIZER, "--no-network", "--format", task.format, "--add", task.path, *options]


def _write_arguments(task: PreparationTask, files: ExitStack) -> Tuple[List[str], Tuple[int, ...]]:
    """Return the other options, and the open files that they name."""
    numbers: List[int] = []

    def put(text: str) -> str:
        number = os.memfd_create("virt-reconciler", os.MFD_CLOEXEC)
        files.callback(os.close, number)
        with open(number, "wb", closefd=False) as file:
            file.write(text.encode())
        numbers.append(number)
        return f"/proc/self/fd/{number}"

    arguments = ["--no-network", "--format", task.format, "--add", task.path]
    if task.operations is None or CLOUD_INIT in task.operations:
        arguments += ["--delete", "/var/lib/cloud/*"]
    if task.hostname is not None:
        arguments += ["--hostname", task.hostname]
    for user, keys in task.ssh_keys.items():
        arguments += ["--ssh-inject", f"{user}:file:{put(keys)}"]
    for script in task.scripts:
        arguments += ["--firstboot", put(script)]
    return [*arguments, "--selinux-relabel"], tuple(numbers)


def _explain(program: str, lines: List[str], status: int) -> Exception:
    """Return our error for the last lines of a run that failed; a negative status is a signal."""
    if status < 0:
        return TransientError(f"{program} was ended by signal {-status}; apply again")
    errors = [found["words"] for line in lines for found in [_ERROR.fullmatch(line)] if found]
    words = " ".join(errors or lines[-_LAST_LINES:])
    if any(known in words for known in _NO_SYSTEM):
        field = "spec.prepare" if program == PROGRAM else "inject"
        return TerminalError(
            f"{program} finds no operating system in the image; remove {field} of the "
            "template, or repair the template: virt-inspector -a IMAGE"
        )
    return TransientError(
        f"{program}: {words or 'it ended without a word'}; if its appliance does not start: "
        "libguestfs-test-tool"
    )
