"""The import map of docs/architecture.md, held against the code by its own imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Dict, FrozenSet, Iterator, List, Mapping, NamedTuple, Set, Tuple

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "reconciler"

# Room → what it may import of ours besides itself; the longest prefix that fits is the room.
MAY_IMPORT: Mapping[str, FrozenSet[str]] = {
    "reconciler.cli": frozenset({"reconciler"}),
    "reconciler.__main__": frozenset({"reconciler.cli"}),
    "reconciler.adapters": frozenset(
        {
            "reconciler.control.ports",
            "reconciler.control.service_ports",
            "reconciler.core",
            "reconciler.errors",
            "schemas",
        }
    ),
    "reconciler.daemon": frozenset({"reconciler.control", "reconciler.core", "reconciler.errors"}),
    "reconciler.control": frozenset(
        {"reconciler.kinds.api", "reconciler.core", "reconciler.errors"}
    ),
    "reconciler.kinds.machine": frozenset(
        {
            "reconciler.kinds.api",
            "reconciler.kinds.plain",
            "reconciler.control.ports",
            "reconciler.core",
            "reconciler.errors",
        }
    ),
    "reconciler.kinds.host": frozenset(
        {
            "reconciler.kinds.api",
            "reconciler.kinds.plain",
            "reconciler.control.ports",
            "reconciler.core",
            "reconciler.errors",
        }
    ),
    "reconciler.kinds.template": frozenset(
        {
            "reconciler.kinds.api",
            "reconciler.kinds.plain",
            "reconciler.control.ports",
            "reconciler.core",
            "reconciler.errors",
        }
    ),
    "reconciler.kinds": frozenset(
        {"reconciler.kinds", "reconciler.control.ports", "reconciler.core", "reconciler.errors"}
    ),
    "reconciler.core": frozenset({"reconciler.errors"}),
    "reconciler.errors": frozenset(),
    "reconciler": frozenset(),
}

# Foreign library → the one file that may import it.
IMPORTER: Mapping[str, str] = {
    "libvirt": "reconciler.adapters.libvirt.binding",
    "libvirt_qemu": "reconciler.adapters.libvirt.binding",
    "pycdlib": "reconciler.adapters.libvirt.iso_images",
    "matplotlib": "reconciler.adapters.charts",
    "watchdog": "reconciler.adapters.watch",
    "yaml": "reconciler.adapters.manifests.documents",
    "jsonschema": "reconciler.adapters.manifests.schema_errors",
    "lxml": "reconciler.core.xmltree",
    "systemd": "reconciler.adapters.systemd",
    "typing_extensions": "reconciler.core.frozen",  # for type checkers only
}

# What every adapter may need of the machine: the time, a file that is written in one piece, and a
# program that ends with us.
SHARED_EDGES = frozenset(
    {
        "reconciler.adapters.text_files",
        "reconciler.adapters.clock",
        "reconciler.adapters.child_programs",
    }
)

OURS = ("reconciler", "schemas")
BANNED_NAMES = frozenset({"manager", "helper", "helpers", "util", "utils", "handler"})
MAX_LINES = 400  # of one subject


class Import(NamedTuple):
    """One import: who, whom, and whether merely importing the importer does it."""

    importer: str
    imported: str
    on_import: bool


def module_name(path: Path) -> str:
    """Return the dotted name of a source file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def is_type_checking(node: ast.AST) -> bool:
    """Whether the node is an `if TYPE_CHECKING:`."""
    return (
        isinstance(node, ast.If)
        and isinstance(node.test, ast.Name)
        and node.test.id == "TYPE_CHECKING"
    )


def walk(node: ast.AST, on_import: bool) -> Iterator[Tuple[ast.AST, bool]]:
    """Yield every node below, with whether it is run when the module is imported."""
    for child in ast.iter_child_nodes(node):
        is_later = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
        runs = on_import and not is_later and not is_type_checking(child)
        yield child, runs
        yield from walk(child, runs)


def resolve(node: ast.AST) -> Iterator[str]:
    """Yield the modules that an import statement names."""
    if isinstance(node, ast.Import):
        yield from (name.name for name in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        for name in node.names:
            full = f"{node.module}.{name.name}"
            yield full if full in SOURCES else node.module


def read_imports(name: str, path: Path) -> List[Import]:
    """Return every import of a file."""
    tree = ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=(3, 9))
    return [
        Import(name, module, runs)
        for node, runs in walk(tree, on_import=True)
        for module in resolve(node)
    ]


IMPORTS = [one for name, path in SOURCES.items() for one in read_imports(name, path)]


def is_within(module: str, package: str) -> bool:
    """Whether the module is the package or lies in it."""
    return module == package or module.startswith(f"{package}.")


def room_of(module: str) -> str:
    """Return the room of a module of ours."""
    return max((one for one in MAY_IMPORT if is_within(module, one)), key=len)


def edge_of(module: str) -> str:
    """Return the adapter that a module belongs to: `reconciler.adapters.libvirt`."""
    return ".".join(module.split(".")[:3])


def test_imports_run_one_way() -> None:
    assert imports_against_the_map() == []


def imports_against_the_map() -> List[str]:
    """Return each import that the map does not allow."""
    return [
        f"{one.importer} imports {one.imported}"
        for one in IMPORTS
        if is_within(one.imported, "reconciler") or is_within(one.imported, "schemas")
        if room_of(one.importer) != "reconciler.cli"
        if not any(
            is_within(one.imported, allowed)
            for allowed in (room_of(one.importer), *MAY_IMPORT[room_of(one.importer)])
        )
    ]


def test_no_adapter_imports_another() -> None:
    wrong = [
        f"{one.importer} imports {one.imported}"
        for one in IMPORTS
        if is_within(one.importer, "reconciler.adapters")
        if is_within(one.imported, "reconciler.adapters")
        if edge_of(one.importer) != edge_of(one.imported)
        if one.imported not in SHARED_EDGES
    ]
    assert wrong == []


def test_each_foreign_library_has_one_importer() -> None:
    wrong = [
        f"{one.importer} imports {one.imported}"
        for one in IMPORTS
        for library in [one.imported.split(".")[0]]
        if library not in OURS and not is_standard(library)
        if IMPORTER.get(library) != one.importer
    ]
    assert wrong == []


def is_standard(library: str) -> bool:
    """Whether a library comes with Python (3.9 cannot list its own: look where it lies)."""
    if library in sys.builtin_module_names:
        return True
    names = getattr(sys, "stdlib_module_names", None)
    if names is not None:
        return library in names
    return library not in IMPORTER


def find_cycle(graph: Mapping[str, Set[str]]) -> List[str]:
    """Return the modules of an import cycle, in order; empty if there is none."""
    done: Set[str] = set()

    def visit(module: str, path: Tuple[str, ...]) -> List[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for other in sorted(graph.get(module, ())):
            cycle = visit(other, (*path, module))
            if cycle:
                return cycle
        done.add(module)
        return []

    return next((found for found in (visit(one, ()) for one in sorted(graph)) if found), [])


def import_graph() -> Dict[str, Set[str]]:
    """Return who imports whom among ours, imports in functions included."""
    graph: Dict[str, Set[str]] = {name: set() for name in SOURCES}
    for one in IMPORTS:
        if one.imported in SOURCES and one.imported != one.importer:
            graph[one.importer].add(one.imported)
    return graph


def test_there_is_no_import_cycle() -> None:
    assert find_cycle(import_graph()) == []


def test_cycle_search_finds_one() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b"}}
    assert find_cycle(graph) == ["b", "c", "b"]


def reachable_on_import(start: str) -> Set[str]:
    """Return all modules that importing `start` imports."""
    graph: Dict[str, Set[str]] = {}
    for one in IMPORTS:
        if one.on_import:
            graph.setdefault(one.importer, set()).add(one.imported)
    found: Set[str] = set()
    todo = [start]
    while todo:
        module = todo.pop()
        if module not in found:
            found.add(module)
            todo.extend(graph.get(module, ()))
    return found


@pytest.mark.parametrize(
    "start",
    [
        "reconciler.__main__",
        "reconciler.cli.run",
        "reconciler.cli.console",
        "reconciler.cli.services",
    ],
)
def test_nothing_on_the_start_up_path_imports_a_foreign_library(start: str) -> None:
    found = {one.split(".")[0] for one in reachable_on_import(start)}
    assert sorted(found & set(IMPORTER)) == []


@pytest.mark.parametrize("option", ["--version", "--help"])
def test_start_up_imports_no_foreign_library_in_fact(option: str) -> None:
    code = (
        "import sys; from reconciler.cli import main; status = main(sys.argv[1:]); "
        "sys.stderr.write(' '.join(sorted(sys.modules))); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, option], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = {word.split(".")[0] for word in done.stderr.split()}
    assert sorted(loaded & set(IMPORTER)) == []


# Who writes a record: a pass as it ends; a resync, of what has no manifest; a person's `retry`.
WRITERS_OF_RECORDS = (
    "reconciler.control.loop",
    "reconciler.control.prune",
    "reconciler.control.worker",
)


def test_what_decides_about_changes_is_loaded_when_something_differs() -> None:
    starts = (
        *("reconciler.cli.verbs.plan", "reconciler.kinds.machine.planner"),
        *("reconciler.adapters.libvirt.host", "reconciler.adapters.manifests.reader"),
    )
    found = set().union(*map(reachable_on_import, starts))
    names = (
        *("create", "decide", "effects", "holds", "recreate", "requirements", "states", "steps"),
        *("sources", "update"),
    )
    assert not found & {f"reconciler.kinds.machine.planning.{name}" for name in names}
    others = ("control.ports", "core.guest", "core.libvirt_daemons")
    assert not found & {f"reconciler.{name}" for name in others}
    assert "reconciler.kinds.machine.planning.differences" in found


def test_what_changes_a_machine_is_not_loaded_to_create_one() -> None:
    planning = "kinds.machine.planning"
    starts = (
        *("cli.verbs.apply", "control.change_recorder", "adapters.state.history"),
        *("adapters.libvirt.storage", "adapters.libvirt.clones", "kinds.machine.action"),
        *(f"{planning}.create", f"{planning}.recreate", f"{planning}.requirements"),
    )
    found = set().union(*(reachable_on_import(f"reconciler.{start}") for start in starts))
    changing = ("consequences", "decide", "devices", "effects", "holds", "steps", "update")
    others = (
        *("adapters.libvirt.objects", "cli.plan_files", "control.service_ports", "core.events"),
        *("core.overview", "core.plan_files", "core.render.json"),
    )
    names = (*(f"{planning}.{name}" for name in changing), *others)
    assert not found & {f"reconciler.{name}" for name in names}
    assert f"reconciler.{planning}.sources" in found


def test_what_is_known_of_windows_is_loaded_for_a_windows_alone() -> None:
    starts = ("reconciler.cli.verbs.plan", "reconciler.cli.verbs.manifests", "reconciler.kinds")
    planning = "reconciler.kinds.machine.planning"
    found = set().union(
        *map(reachable_on_import, (*starts, f"{planning}.create", f"{planning}.update"))
    )
    names = ("core.virtio_win", "core.windows_drivers", "kinds.machine.planning.windows_guests")
    assert not found & {f"reconciler.{name}" for name in names}


def test_a_pass_writes_the_status_of_its_object_in_one_place() -> None:
    found = tuple(
        name
        for name, path in SOURCES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if node.func.attr == "put" and ast.unparse(node.func.value).endswith("ledger")
    )
    assert found == WRITERS_OF_RECORDS


KIND_NAMES = frozenset({"VirtualMachine", "Template", "Host"})
KIND_WORDS = frozenset(
    {"MACHINE", "TEMPLATE", "HOST", "MachineManifest", "TemplateManifest", "HostManifest"}
)
# Modules that name a kind all the same; docs/architecture.md says why. It only gets shorter.
MAY_NAME_A_KIND = (
    "reconciler.cli.comparison",
    "reconciler.cli.daemon_state",
    "reconciler.cli.plans",
    "reconciler.cli.verbs.access",
    "reconciler.cli.verbs.adoption",
    "reconciler.cli.verbs.bench_guest",
    "reconciler.cli.verbs.bench_matrix",
    "reconciler.cli.verbs.history",
    "reconciler.cli.verbs.host",
    "reconciler.cli.verbs.imports",
    "reconciler.cli.verbs.status",
    "reconciler.core.daemon_faults",
    "reconciler.core.host_snapshot",
    "reconciler.core.key",
    "reconciler.core.manifest",
    "reconciler.core.render.json",
)


def names_kind(tree: ast.AST) -> bool:
    """Whether the code names a kind: as a text, by its manifest's class, or by its folder."""
    return any(
        (isinstance(node, ast.Constant) and node.value in KIND_NAMES)
        or (
            isinstance(node, ast.ImportFrom)
            and str(node.module).startswith("reconciler.kinds.")
            and node.module not in ("reconciler.kinds.api", "reconciler.kinds.plain")
        )
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "reconciler.core.manifest"
            and not KIND_WORDS.isdisjoint(alias.name for alias in node.names)
        )
        for node in ast.walk(tree)
    )


def test_nothing_outside_of_kinds_names_a_kind() -> None:
    found = tuple(
        name
        for name, path in SOURCES.items()
        if not is_within(name, "reconciler.kinds")
        if names_kind(ast.parse(path.read_text(encoding="utf-8")))
    )
    assert found == MAY_NAME_A_KIND


BROAD = frozenset({"Exception", "BaseException"})
# The one place that catches what nobody foresaw, and two that hand it to the caller's thread.
MAY_CATCH_ALL = (
    "reconciler.adapters.libvirt.clones",
    "reconciler.control.executor",
    "reconciler.core.faults",
)


def is_broad(handler: ast.ExceptHandler) -> bool:
    """Whether a handler catches what nobody foresaw, and does not raise the same again."""
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else (handler.type,)
    names = {one.id for one in caught if isinstance(one, ast.Name)}
    is_all = handler.type is None or bool(names & BROAD)
    last = handler.body[-1]
    return is_all and not (isinstance(last, ast.Raise) and last.exc is None)


def test_one_place_catches_whatever_is_raised() -> None:
    found = tuple(
        name
        for name, path in SOURCES.items()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ExceptHandler) and is_broad(node)
    )
    assert found == MAY_CATCH_ALL


def test_no_module_has_a_name_that_says_nothing() -> None:
    words = {word for name in SOURCES for part in name.split(".") for word in part.split("_")}
    assert sorted(words & BANNED_NAMES) == []


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_module_says_what_it_is_and_stays_small(name: str) -> None:
    text = SOURCES[name].read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text)), f"{name} has no docstring"
    assert len(text.splitlines()) <= MAX_LINES, f"{name} is too long: split it by what it says"


def test_architecture_page_names_every_room_and_importer() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    for room in MAY_IMPORT:
        assert room.replace(".__main__", ".cli") in page
    for library, module in IMPORTER.items():
        assert f"`{library}`" in page
        assert f"`{module.replace('.', '/')}.py`" in page
