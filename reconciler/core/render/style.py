"""How text is dressed: colour and the few signs beyond ASCII. Told, never found out, here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

from reconciler.core.plan import ActionKind, Effect

_CODES: Mapping[str, str] = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "magenta": "35",
    "cyan": "36",
}

EFFECT_COLOURS: Mapping[Effect, str] = {
    Effect.NEXT_BOOT: "yellow",
    Effect.RESTART: "red",
    Effect.DESTRUCTIVE: "red",
    Effect.WITHHELD: "magenta",
}

SYMBOLS: Mapping[ActionKind, str] = {
    ActionKind.CREATE: "+",
    ActionKind.UPDATE: "~",
    ActionKind.DELETE: "-",
    ActionKind.ADOPT: ">",
    ActionKind.NONE: "=",
    ActionKind.WITHHELD: "!",
    ActionKind.FAILED: "!",
}

SYMBOL_COLOURS: Mapping[str, str] = {
    "+": "green",
    "~": "yellow",
    "-": "red",
    ">": "cyan",
    "!": "magenta",
}


@dataclass(frozen=True)
class Style:
    """`colour`: ANSI colours may be used. `unicode`: `→` can be shown."""

    colour: bool = False
    unicode: bool = True

    @property
    def arrow(self) -> str:
        """What stands between an old and a new value."""
        return "→" if self.unicode else "->"

    def paint(self, text: str, *names: str) -> str:
        """Colour the text, if colours are wanted."""
        codes = ";".join(_CODES[name] for name in names if name)
        return f"\033[{codes}m{text}\033[0m" if self.colour and codes and text else text

    def paint_symbol(self, symbol: str) -> str:
        """Colour one of the signs at the start of a line."""
        return self.paint(symbol, SYMBOL_COLOURS.get(symbol, ""))
