#!/usr/bin/env python3
"""Write docs/plan.svg and docs/plan-narrow.svg: the README's plan, as a terminal shows it.

The output is real: `virt-reconciler plan` runs on a terminal, against a recorded host
(scripts/plan_picture). A test holds the pictures against it. `--record`, as root, records the host
again: it starts a private libvirt, applies the manifests as they were before the change, changes
what people change by hand, and takes a snapshot.
"""

from __future__ import annotations

import argparse
import json
import os
import pty
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "scripts" / "plan_picture"
SNAPSHOT = FOLDER / "kvm01.json"
MANIFESTS = "vms"
COMMAND = f"virt-reconciler plan --against {SNAPSHOT.name} {MANIFESTS}"

# Picture → columns of its terminal. The narrow one is for telephones.
PICTURES = {"plan.svg": 108, "plan-narrow.svg": 60}
WIDTH, HEIGHT, MARGIN = 8.4, 20, 16  # of a character, of a line, around the text
SIZE = 14

# Name → colour on a light and on a dark terminal. Each has a contrast of at least 4.5.
COLOURS = {
    "text": ("#1f2328", "#d4d7dc"),
    "dim": ("#59636e", "#9198a1"),
    "red": ("#c01c28", "#ff7b72"),
    "green": ("#116329", "#56d364"),
    "yellow": ("#7d4e00", "#e3b341"),
    "magenta": ("#8250df", "#d2a8ff"),
    "cyan": ("#0b6a77", "#56d4dd"),
}
PAPER, EDGE = ("#f6f8fa", "#0d1117"), ("#d1d9e0", "#3d444d")
# Codes of ECMA-48 → how the text looks.
CODES = {
    "1": "bold", "2": "dim", "31": "red", "32": "green", "33": "yellow", "35": "magenta",
    "36": "cyan",
}  # fmt: skip
ESCAPE = re.compile(r"\x1b\[([0-9;]*)m")

# What the manifests had before the change that the picture shows: file → (now, before).
BEFORE = {
    "db01.yaml": (
        ("3GiB", "2GiB"),
        ("80GiB", "50GiB"),
        ("logs, bus: scsi, size: 10GiB", "logs, bus: scsi, size: 20GiB"),
    ),
}
NEW = "web02.yaml"
BY_HAND = ("destroy web01", "detach-interface web01 network --config")
HOST, POOL = "kvm01", "/var/lib/libvirt/images"


@dataclass(frozen=True)
class Run:
    """Characters of one line that look the same, from a column on."""

    column: int
    text: str
    looks: Tuple[str, ...]


def main() -> None:
    """Write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="record the host again, as root")
    if parser.parse_args().record:
        record()
    for name in PICTURES:
        (ROOT / "docs" / name).write_text(render(name), encoding="utf-8")


def render(name: str) -> str:
    """Return a picture."""
    columns = PICTURES[name]
    text = f"\x1b[1m$ {COMMAND}\x1b[0m\n{read_output()}"
    lines = [part for line in text.splitlines() for part in _wrap(_split_runs(line), columns)]
    width = round(columns * WIDTH) + 2 * MARGIN
    height = len(lines) * HEIGHT + 2 * MARGIN
    drawn = "".join(_draw_line(runs, number) for number, runs in enumerate(lines))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        f' viewBox="0 0 {width} {height}" role="img">\n'
        "<!-- Written by scripts/make_plan_svg.py from real output; do not edit. -->\n"
        f"<title>{escape(COMMAND)}</title>\n<style>\n{_style()}</style>\n"
        f'<rect class="paper" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"/>\n'
        f"{drawn}</svg>\n"
    )


def read_output() -> str:
    """Return what the command prints on a terminal."""
    words = COMMAND.split()[1:]
    environment = {**os.environ, "TERM": "xterm", "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT)}
    environment.pop("NO_COLOR", None)
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-X", "utf8", "-m", "reconciler", *words],
        cwd=FOLDER, env=environment, stdin=subprocess.DEVNULL, stdout=theirs,
        stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        os.close(theirs)
        output = b"".join(_read_until_closed(ours))
        os.close(ours)
    if process.returncode != 0:
        raise RuntimeError(f"virt-reconciler {' '.join(words)}: status {process.returncode}")
    return output.decode("utf-8").replace("\r\n", "\n")


def _read_until_closed(terminal: int) -> Iterator[bytes]:
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # Linux says EIO when nobody holds the other end any more
            return
        if not data:
            return
        yield data


def _split_runs(line: str) -> List[Run]:
    """Return what a line of a terminal consists of."""
    runs: List[Run] = []
    column, looks = 0, ()  # type: Tuple[int, Tuple[str, ...]]
    for index, part in enumerate(ESCAPE.split(line)):
        if index % 2:
            looks = tuple(CODES[code] for code in part.split(";") if code not in ("", "0"))
        elif part:
            runs.append(Run(column, part, looks))
            column += len(part)
    return runs


def _wrap(runs: List[Run], columns: int) -> Iterator[List[Run]]:
    """Yield the lines that hold one in so many columns, broken between words."""
    text = "".join(run.text for run in runs)
    looks = [run.looks for run in runs for _ in run.text]
    indent, start = 0, 0
    while len(text) - start > columns - indent:
        last = text.rfind(" ", start + 1, start + columns - indent + 1)
        end = last if text[start:last].strip() else start + columns - indent
        yield _join(text[start:end], looks[start:end], indent)
        start = end + (text[end] == " ")
        indent = len(text) - len(text.lstrip(" ")) + 4
    yield _join(text[start:], looks[start:], indent)


def _join(text: str, looks: List[Tuple[str, ...]], column: int) -> List[Run]:
    runs: List[Run] = []
    for character, look in zip(text, looks):
        if runs and runs[-1].looks == look:
            runs[-1] = replace(runs[-1], text=runs[-1].text + character)
        else:
            runs.append(Run(column, character, look))
        column += 1
    return runs


def _draw_line(runs: List[Run], number: int) -> str:
    y = MARGIN + number * HEIGHT + SIZE
    return "".join(_draw_run(run, y) for run in runs if run.text.strip())


def _draw_run(run: Run, y: int) -> str:
    text = run.text.lstrip(" ")
    x = MARGIN + (run.column + len(run.text) - len(text)) * WIDTH
    text = text.rstrip(" ")
    looks = f' class="{" ".join(run.looks)}"' if run.looks else ""
    return (
        f'<text{looks} x="{x:.1f}" y="{y}" textLength="{len(text) * WIDTH:.1f}"'
        f' xml:space="preserve">{escape(text, quote=False)}</text>\n'
    )


def _style() -> str:
    font = "ui-monospace, 'DejaVu Sans Mono', 'Liberation Mono', Menlo, Consolas, monospace"
    light, dark = (_colours(index) for index in (0, 1))
    return (
        f"text {{ font: {SIZE}px {font}; }}\n.bold {{ font-weight: bold; }}\n{light}"
        f"@media (prefers-color-scheme: dark) {{\n{dark}}}\n"
    )


def _colours(index: int) -> str:
    names: Dict[str, str] = {name: pair[index] for name, pair in COLOURS.items()}
    rules = [f"text {{ fill: {names.pop('text')}; }}\n"]
    rules += [f".{name} {{ fill: {colour}; }}\n" for name, colour in names.items()]
    return "".join(rules) + f".paper {{ fill: {PAPER[index]}; stroke: {EDGE[index]}; }}\n"


def record() -> None:
    """Make a host that the manifests differ from, and take its snapshot."""
    sys.path.insert(0, str(ROOT))
    from tests.lab.host import temporary_host  # noqa: PLC0415 - needs root and libvirt

    with temporary_host(kvm=False) as host, tempfile.TemporaryDirectory() as folder:
        host.virsh("pool-destroy", "default")
        host.virsh("pool-undefine", "default")
        before = write_manifests_before(Path(folder))
        program = f"{sys.executable} -m reconciler -c qemu:///system"
        script = [
            f"virsh -q pool-define-as default dir --target {POOL}",
            "virsh -q pool-build default; virsh -q pool-start default",
            "virsh -q vol-create-as default rocky9.qcow2 10G --format qcow2",
            f"{program} apply --yes {before}",
            *(f"virsh -q {words}" for words in BY_HAND),
            f"{program} snapshot --out {SNAPSHOT}",
            "virsh -q list --name | xargs -n 1 virsh -q destroy",
        ]
        inside = ["nsenter", "-t", str(host.pid()), "-m", "-n", "unshare", "-m"]
        environment = {**os.environ, "HOME": folder, "PYTHONPATH": str(ROOT)}
        subprocess.run(
            [*inside, "sh", "-e", "-c", "\n".join(script)], check=True, env=environment, cwd=ROOT
        )
    state = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
    state["host"] = HOST
    SNAPSHOT.write_text(f"{json.dumps(state, indent=1, ensure_ascii=False)}\n", encoding="utf-8")


def write_manifests_before(folder: Path) -> Path:
    """Write the manifests as they were before the change; return their folder."""
    target = folder / MANIFESTS
    target.mkdir()
    for file in (FOLDER / MANIFESTS).glob("*.yaml"):
        text = file.read_text(encoding="utf-8")
        for now, before in BEFORE.get(file.name, ()):
            if now not in text:
                raise RuntimeError(f"{file.name} does not contain {now}")
            text = text.replace(now, before)
        if file.name != NEW:
            (target / file.name).write_text(text, encoding="utf-8")
    return target


if __name__ == "__main__":
    main()
