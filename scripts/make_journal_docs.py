#!/usr/bin/env python3
"""Write docs/journal.md and the journal's catalog from the table of events. A test holds them."""

from __future__ import annotations

import textwrap
from pathlib import Path

from reconciler.adapters.systemd import IDENTIFIER, PREFIX
from reconciler.core import events
from reconciler.core.events import KINDS, EventKind

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "journal.md"
CATALOG = ROOT / "packaging" / "virt-reconciler.catalog"

TEXT = f"""\
# What the daemon tells the journal

<!-- Written by scripts/make_journal_docs.py from the table of events; do not edit. -->

Under systemd every message of the daemon is a journal entry with fields to filter by. Elsewhere it
is a line on standard error, `level: object: message`.

```
journalctl -u virt-reconciler {PREFIX}OBJECT=web01    # all that was done to one machine
journalctl -t {IDENTIFIER} MESSAGE_ID={events.CHANGED.message_id} --since today -o json \\
  --output-fields=MESSAGE,{PREFIX}EFFECT,{PREFIX}REVISION    # all changes of today
journalctl -u virt-reconciler -b -p warning -x    # what went wrong since boot, explained
```

A message that would be repeated without news, like a failure at each try, is told once. Passwords
are never in it. Control characters are shown by their codes, and line breaks as spaces.

## Fields

| field | holds |
|---|---|
| `MESSAGE` | one line, which begins with the object if it is about one: `web01`, `host/kvm01` |
| `MESSAGE_ID` | the kind of message, see below |
| `PRIORITY` | 3 error, 4 warning, 5 notice, 6 info, 7 debug |
| `SYSLOG_IDENTIFIER` | `{IDENTIFIER}` |
| `{PREFIX}KIND` | the kind of message, as a word |
| `{PREFIX}OBJECT` | the object's name, if the message is about one |
| `{PREFIX}OBJECT_KIND` | the object's kind, as in its manifest |
| `{PREFIX}ACTION` | what is done to the object, as in a plan: `create`, `update`, `delete`, … |
| `{PREFIX}EFFECT` | what the change does to a running guest, [as in a plan](plan.md) |
| `{PREFIX}REVISION` | the Git commit of the manifests, if they are in Git |

A kind may have more fields of its own; they begin with `{PREFIX}` too.

## Kinds

A change because of a commit is `changed`; one because someone had changed the machine is `drift`.
Values are in the manifest's units.

The ids are for ever; a kind may be told at another level some day.

| kind | level | MESSAGE_ID | means |
|---|---|---|---|
"""

HEAD = """\
# Explains virt-reconciler's messages: journalctl -x
# Written by scripts/make_journal_docs.py from the table of events; do not edit.
"""

# What a person does about it, where there is something to do.
ADVICE = {
    events.DISCONNECTED: "Nothing is concluded from it about any object, and it is tried again by "
    "itself. systemctl status of libvirt's daemons and their sockets says more.",
    events.SOURCE_FAILED: "Nothing is changed or deleted because of it. `virt-reconciler status` "
    "shows which revision is in force and since when.",
    events.SOURCE_REFUSED: "The last good revision stays in force. Find out who wrote the other "
    "one before allowing it.",
    events.INVALID: "The message says file, line and field. `virt-reconciler validate` tells all "
    "that is wrong in the manifests, before they are committed.",
    events.WATCH: "Changes are found by looking now and then, which is slower and just as right.",
    events.FAILED: "It is tried again if it may pass by itself; else the manifest or the domain "
    "has to change first. `virt-reconciler status` shows the next try.",
    events.DRIFT: "Someone changed the machine beside its manifest. If it has to stay changed, "
    "change the manifest, or `virt-reconciler suspend` the machine.",
    events.NOT_READY: "`virt-reconciler status` says why, and which command helps.",
    events.PRUNE_BLOCKED: "More manifests are gone than may be pruned without a person's word, or "
    "it is not certain that they are gone. `virt-reconciler status` says why.",
}
DEFAULT_ADVICE = "`virt-reconciler status` shows how things are now."


def main() -> None:
    """Write the page and the catalog."""
    PAGE.write_text(render(), encoding="utf-8")
    CATALOG.write_text(render_catalog(), encoding="utf-8")


def render() -> str:
    """Return the page."""
    rows = (
        f"| `{one.name}` | {one.level.name.lower()} | `{one.message_id}` | {one.meaning} |\n"
        for one in KINDS
    )
    return TEXT + "".join(rows)


def render_catalog() -> str:
    """Return the catalog, in the format of https://systemd.io/CATALOG."""
    return HEAD + "".join(f"\n{_entry(one)}" for one in KINDS)


def _entry(kind: EventKind) -> str:
    subject = kind.meaning[0].upper() + kind.meaning[1:]
    return f"""\
-- {kind.message_id}
Subject: {subject}
Defined-By: virt-reconciler
Documentation: man:virt-reconciler(1)

{textwrap.fill(ADVICE.get(kind, DEFAULT_ADVICE), 80)}
"""


if __name__ == "__main__":
    main()
