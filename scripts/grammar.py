"""The command line's grammar as values, for the scripts that describe it. Reads argparse's parser.

argparse has no public way to ask what a parser takes; that it is asked otherwise stands here alone.
"""
# ruff: noqa: SLF001

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Iterator, Optional, Tuple

from reconciler.cli.arguments import PROGRAM, build_parser

# argparse's own names for how often something may stand there.
_MANY = ("*", "+")
_LEAST_ONE = (None, "+")


@dataclass(frozen=True)
class Word:
    """An option (with flags) or an argument (without)."""

    flags: Tuple[str, ...]
    metavar: Optional[str]
    choices: Tuple[str, ...]
    help: str
    is_many: bool
    is_required: bool

    @property
    def value(self) -> str:
        """What stands for its value in a usage line; empty if it takes none."""
        one = self.metavar or "|".join(self.choices)
        return f"{one}..." if self.is_many and one else one


@dataclass(frozen=True)
class Command:
    """The whole program (no path), or one verb: `("host", "check")`."""

    path: Tuple[str, ...]
    help: str
    description: str
    options: Tuple[Word, ...]
    arguments: Tuple[Word, ...]
    verbs: Tuple[str, ...]

    @property
    def name(self) -> str:
        """The verb as it is typed."""
        return " ".join(self.path)


def read_commands() -> Tuple[Command, ...]:
    """Return the program itself and every verb, those below others after them."""
    return tuple(_walk(build_parser(), (), ""))


def _walk(parser: argparse.ArgumentParser, path: Tuple[str, ...], help_: str) -> Iterator[Command]:
    below = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    words = [_word(one) for one in parser._actions if one not in below]
    yield Command(
        path,
        help_,
        parser.description or "",
        tuple(word for word in words if word.flags),
        tuple(word for word in words if not word.flags),
        tuple(name for action in below for name in action.choices),
    )
    for action in below:
        helps = {one.dest: one.help or "" for one in action._choices_actions}
        for name, inner in action.choices.items():
            yield from _walk(inner, (*path, name), helps.get(name, ""))


def _word(action: argparse.Action) -> Word:
    takes_value = action.nargs != 0
    return Word(
        flags=tuple(action.option_strings),
        metavar=_metavar(action) if takes_value else None,
        choices=tuple(map(str, action.choices or ())) if takes_value else (),
        help=(action.help or "") % {"default": action.default, "prog": PROGRAM},
        is_many=action.nargs in _MANY,
        is_required=action.required if action.option_strings else action.nargs in _LEAST_ONE,
    )


def _metavar(action: argparse.Action) -> Optional[str]:
    if action.metavar is None and action.choices:
        return None
    return str(action.metavar or action.dest.upper())
