#!/usr/bin/env python3
"""Print the measures of the code in reconciler/; tests/unit/source/test_measures.py holds limits.

Most are counted in the syntax trees of the sources. The frames are those of a real `apply`: it
creates a machine on libvirt's own test driver, in memory, and a profile function notes the stack at
each call of a libvirt method.
"""

from __future__ import annotations

import ast
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import tokenize
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple, Union

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "reconciler"
CAPS = ROOT / "tests/unit/adapters/libvirt_driver/recorded/debian12-q35-tcg.xml"

SMALL = 40  # lines: a module with fewer and one importer belongs in its importer
NOUNS = frozenset({"planning", "binding", "backing"})  # like a gerund, and words of this trade
VERBS = "verbs"  # the word in the paths of the files that hold the verbs
DEFINE = "defineXMLFlags"  # libvirt's method that stores a domain
INLINED = frozenset({"<listcomp>", "<dictcomp>", "<setcomp>"})  # no frames any more since 3.12
LAYOUT = (
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
)
FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)

Stack = Tuple[Tuple[str, str], ...]


@dataclass(frozen=True)
class Source:
    """One file of the package. `name` is its dotted name."""

    name: str
    path: Path
    text: str
    tree: ast.Module

    @property
    def lines(self) -> int:
        """All lines, empty ones and comments too."""
        return len(self.text.splitlines())

    @property
    def is_package(self) -> bool:
        """Whether the file stands for a folder, so that it cannot be merged into another."""
        return self.path.name == "__init__.py"


@dataclass(frozen=True)
class Measures:
    """The measures that have a limit, and those that describe. Lists are sorted and say where."""

    files: int
    lines: int
    code_lines: int
    import_share: float
    import_share_of_code: float
    functions: int
    median_length: int
    ninth_length: int
    longest: int
    single_importer: Tuple[str, ...]
    small_single_importer: Tuple[str, ...]
    private_functions: int
    used_once: int
    shared_class_names: Tuple[str, ...]
    vague_loops: int
    gerunds: Tuple[str, ...]


def read_sources() -> Dict[str, Source]:
    """Return every source file of the package by its dotted name."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        found[name] = Source(name, path, text, ast.parse(text, str(path)))
    return found


def measure(sources: Mapping[str, Source]) -> Measures:
    """Return all that can be counted without running anything."""
    lines = sum(source.lines for source in sources.values())
    lengths = sorted(
        _count_lines(node) for _, node in _find_nodes(sources) if isinstance(node, FUNCTION)
    )
    single = find_single_importers(sources)
    code = sum(map(_count_code_lines, sources.values()))
    imports = sum(map(_count_import_lines, sources.values()))
    private = [uses for source in sources.values() for uses in _count_private_uses(source)]
    return Measures(
        files=len(sources),
        lines=lines,
        code_lines=code,
        import_share=100 * imports / lines,
        import_share_of_code=100 * imports / code,
        functions=len(lengths),
        median_length=lengths[len(lengths) // 2],
        ninth_length=lengths[len(lengths) * 9 // 10],
        longest=lengths[-1],
        single_importer=single,
        small_single_importer=tuple(name for name in single if sources[name].lines < SMALL),
        private_functions=len(private),
        used_once=private.count(1),
        shared_class_names=_find_shared_class_names(sources),
        vague_loops=_count_loops(sources, "one"),
        gerunds=_find_gerunds(sources),
    )


def _find_nodes(sources: Mapping[str, Source]) -> Iterator[Tuple[Source, ast.AST]]:
    for source in sources.values():
        for node in ast.walk(source.tree):
            yield source, node


def _count_lines(node: Union[ast.stmt, ast.excepthandler]) -> int:
    """Return how many lines a statement takes, from its first word to its last."""
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _count_import_lines(source: Source) -> int:
    """Count the lines of all import statements, each as long as it is, wherever it stands."""
    return sum(
        _count_lines(node)
        for node in ast.walk(source.tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    )


def _count_code_lines(source: Source) -> int:
    """Count the lines with code: no empty ones, no comments, no docstrings."""
    lines = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source.text).readline)
        if token.type not in LAYOUT
        for line in range(token.start[0], token.end[0] + 1)
    }
    texts = {
        line
        for node in ast.walk(source.tree)
        if isinstance(node, (ast.Module, ast.ClassDef, *FUNCTION)) and ast.get_docstring(node)
        for line in range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1)
    }
    return len(lines - texts)


def find_single_importers(sources: Mapping[str, Source]) -> Tuple[str, ...]:
    """Return the modules, packages apart, that exactly one other file of the package imports."""
    importers: Dict[str, set[str]] = {name: set() for name in sources}
    for source, node in _find_nodes(sources):
        for imported in _find_imported(node, sources):
            if imported in importers and imported != source.name:
                importers[imported].add(source.name)
    return tuple(
        name
        for name, found in sorted(importers.items())
        if len(found) == 1 and not sources[name].is_package
    )


def _find_imported(node: ast.AST, sources: Mapping[str, Source]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        for alias in node.names:
            full = f"{node.module}.{alias.name}"
            yield full if full in sources else node.module


def _count_private_uses(source: Source) -> Iterator[int]:
    """Yield how often each private function of the module is named beside its definition."""
    uses = Counter(node.id for node in ast.walk(source.tree) if isinstance(node, ast.Name))
    for node in source.tree.body:
        if isinstance(node, FUNCTION) and node.name.startswith("_"):
            yield uses[node.name]


def _find_shared_class_names(sources: Mapping[str, Source]) -> Tuple[str, ...]:
    where: Dict[str, List[str]] = {}
    for source, node in _find_nodes(sources):
        if isinstance(node, ast.ClassDef):
            where.setdefault(node.name, []).append(source.name)
    return tuple(
        f"{name} ({', '.join(places)})" for name, places in sorted(where.items()) if places[1:]
    )


def _count_loops(sources: Mapping[str, Source], name: str) -> int:
    """Count the loops, comprehensions among them, with a variable of that name."""
    targets = (
        node.target
        for _, node in _find_nodes(sources)
        if isinstance(node, (ast.For, ast.AsyncFor, ast.comprehension))
    )
    return sum(
        any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(target))
        for target in targets
    )


def _find_gerunds(sources: Mapping[str, Source]) -> Tuple[str, ...]:
    """Return the modules and packages with a word that ends in -ing in their own name."""
    own = ((name, name.rpartition(".")[2].split("_")) for name in sources)
    return tuple(
        name
        for name, words in own
        if any(word.endswith("ing") for word in words if word not in NOUNS)
    )


# --- frames ---

MANIFEST = """\
apiVersion: virt-reconciler/v1
kind: VirtualMachine
metadata: {name: vm1}
spec:
  cpus: 1
  memory: 64MiB
  disks: [{name: root, size: 1GiB}]
  interfaces: [{name: lan, network: default}]
"""
NODE = """\
<node>
  <network><name>default</name><bridge name='virbr9'/></network>
  <pool type='dir'><name>default</name><target><path>{folder}</path></target></pool>
</node>
"""


class Watch:
    """Notes the deepest stack of ours at each libvirt method, from the verb on.

    The stack of a thread goes on that of who started it.
    """

    def __init__(self, library: str) -> None:
        """Note nothing yet; `library` is the file of the methods."""
        self._library = library
        self._started: Dict[int, Stack] = {}
        self.deepest: Dict[str, Stack] = {}

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Be a profile function."""
        del argument
        if event != "call":
            return
        code = frame.f_code
        if code.co_filename == threading.__file__ and code.co_name == "start":
            self._started[id(frame.f_locals["self"])] = self._read_stack(frame)
        elif code.co_filename == self._library and "self" in code.co_varnames[:1]:
            self._note(code.co_name, self._read_stack(frame.f_back))

    def _note(self, method: str, stack: Stack) -> None:
        first = next((index for index, (path, _) in enumerate(stack) if VERBS in path), None)
        if first is None or any(name == "<module>" for _, name in stack):
            return  # what happens while a module is loaded, or an object is let go of
        if stack[-1][0].startswith(str(PACKAGE)) and len(stack) - first > len(
            self.deepest.get(method, ())
        ):
            self.deepest[method] = stack[first:]

    def _read_stack(self, frame: Union[FrameType, None]) -> Stack:
        """Return the file and function of each frame of ours, the innermost last."""
        found: List[Tuple[str, str]] = []
        while frame is not None:
            path, name = frame.f_code.co_filename, frame.f_code.co_name
            if path.startswith(str(PACKAGE)) and name not in INLINED:
                found.append((path, name))
            frame = frame.f_back
        outer = self._started.get(id(threading.current_thread()), ())
        return (*outer, *reversed(found))


def trace() -> None:
    """Apply a machine on the test driver, and print the deepest stacks as JSON. For `run_trace`."""
    import libvirt  # noqa: PLC0415

    from reconciler.cli import main as run_command  # noqa: PLC0415

    # All that the test driver lacks, and a plan of a new machine asks for.
    caps = CAPS.read_text(encoding="utf-8").replace("<domain>qemu<", "<domain>test<")
    libvirt.virConnect.getDomainCapabilities = lambda *_: caps
    folder = Path.cwd()
    (folder / "vm.yaml").write_text(MANIFEST, encoding="utf-8")
    (folder / "node.xml").write_text(NODE.format(folder=folder / "images"), encoding="utf-8")
    watch = Watch(libvirt.__file__)
    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        status = run_command(
            ["--connect", f"test://{folder}/node.xml", "apply", "--yes", "vm.yaml"]
        )
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    if status:
        sys.exit(int(status))
    (folder / "stacks.json").write_text(json.dumps(watch.deepest), encoding="utf-8")


def run_trace() -> Mapping[str, Sequence[Tuple[str, str]]]:
    """Return libvirt method → the deepest stack from a verb to it; in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "images").mkdir()
        places = {"HOME": folder, "XDG_RUNTIME_DIR": folder, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, str(Path(__file__).resolve()), "--trace"],
            cwd=folder,
            env={**os.environ, **places},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"the traced apply failed:\n{done.stdout}{done.stderr}")
        found: Mapping[str, Sequence[Tuple[str, str]]] = json.loads(
            (Path(folder) / "stacks.json").read_text(encoding="utf-8")
        )
    return found


def count_frames(stacks: Mapping[str, Sequence[Tuple[str, str]]]) -> Tuple[int, int]:
    """Return the frames from a verb to libvirt: where it stores a domain, and to the deepest call.

    The verb's own function and libvirt's method are both counted.
    """
    return len(stacks[DEFINE]) + 1, max(len(stack) for stack in stacks.values()) + 1


def main() -> None:
    """Print every measure, and with -v the names behind the numbers."""
    if sys.argv[1:] == ["--trace"]:
        trace()
        return
    sources = read_sources()
    found = measure(sources)
    stacks = run_trace()
    define, deepest = count_frames(stacks)
    rows = (
        ("files", found.files, "*.py in reconciler/"),
        ("lines", found.lines, "all, empty ones and comments too"),
        ("  with code", found.code_lines, "no empty ones, no comments, no docstrings"),
        ("imports", f"{found.import_share:.1f} %", "lines of import statements / all lines"),
        ("  of the code", f"{found.import_share_of_code:.1f} %", "the same / lines with code"),
        ("functions", found.functions, "methods and nested ones too"),
        ("  median length", found.median_length, "lines, from def to the last, docstring too"),
        ("  90 % are at most", found.ninth_length, ""),
        ("  longest", found.longest, ""),
        ("single importer", len(found.single_importer), "modules that one other file imports"),
        (f"  under {SMALL} lines", len(found.small_single_importer), ""),
        ("private functions", found.private_functions, "of modules, named _x"),
        ("  used once", found.used_once, ""),
        ("shared class names", len(found.shared_class_names), "names that two classes have"),
        ("frames to define", define, f"from apply to libvirt's {DEFINE}, both counted"),
        ("  to any call", deepest, "the same to the deepest call of all"),
        ("loops over `one`", found.vague_loops, "loop variables that do not say what they hold"),
        ("gerund modules", len(found.gerunds), "a word of the name ends in -ing"),
    )
    for label, value, meaning in rows:
        print(f"{label:20}{value!s:>8}   {meaning}".rstrip())
    if sys.argv[1:] == ["-v"]:
        _print_names(found, stacks)


def _print_names(found: Measures, stacks: Mapping[str, Sequence[Tuple[str, str]]]) -> None:
    lists = (
        ("single importer, small", found.small_single_importer),
        ("shared class names", found.shared_class_names),
        ("gerunds", found.gerunds),
    )
    for title, names in lists:
        print(f"\n{title}:", *names, sep="\n  ")
    for method, stack in sorted(stacks.items(), key=lambda item: len(item[1]))[-1:]:
        frames = (f"{os.path.relpath(path, ROOT)}: {name}" for path, name in stack)
        print(f"\ndeepest, {method}:", *frames, sep="\n  ")


if __name__ == "__main__":
    main()
