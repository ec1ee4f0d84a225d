"""A command that a message gives works as it is: it names its object, whatever the name holds."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Iterator

from reconciler.core.guest_states import find_command, store_command
from reconciler.core.world import DomainView, GuestState

PACKAGE = Path(__file__).parents[2] / "reconciler"
# What these do to an object they do to the one that is named.
VERBS = "edit|start|resume|destroy|reset|undefine|domrename|managedsave-remove|pool-start"
BARE = re.compile(rf"virsh (?:-c \S+ )?(?:{VERBS})(?![\w-]| [{{A-Z])")


def find_texts(tree: ast.Module) -> Iterator[str]:
    """Yield every text of a module that is not a docstring, with `{}` for what is filled in."""
    silent = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            silent.update(id(part) for part in node.values)
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in silent:
                yield node.value


def test_no_command_of_virsh_leaves_out_what_it_is_about() -> None:
    found = [
        f"{path.name}: {text}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for text in find_texts(ast.parse(path.read_text(encoding="utf-8")))
        if BARE.search(text)
    ]
    assert found == []


def test_names_are_quoted_for_the_shell() -> None:
    view = DomainView("my vm", "6b1b", GuestState.CRASHED, "<domain/>")
    assert find_command(view) == "virsh destroy 'my vm'"
    assert store_command("my vm").endswith("'my vm' > 'my vm.xml' && virsh define 'my vm.xml'")
