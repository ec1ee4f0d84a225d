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
# Journal

<!-- Written by scripts/make_journal_docs.py from the table of events; do not edit. -->

Under systemd every message of the daemon is a journal entry with fields that you can filter by.
Elsewhere it is a line on standard error, `level: object: message`.

```
journalctl -u virt-reconciler {PREFIX}OBJECT=web01    # everything that was done to one machine
journalctl -t {IDENTIFIER} MESSAGE_ID={events.CHANGED.message_id} --since today -o json \\
  --output-fields=MESSAGE,{PREFIX}EFFECT,{PREFIX}REVISION    # all changes of today
journalctl -u virt-reconciler -b -p warning -x    # what went wrong since boot, explained
```

A message that has nothing new, like the same failure at each try, is logged once. Passwords are
never logged. Control characters are shown by their codes, and line breaks as spaces.

## Fields

| Field | Content |
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

A kind may have further fields; they begin with `{PREFIX}` too.

## Kinds

A change that a commit caused is `changed`; a change that undoes someone else's change is `drift`.
That a guest is off, or runs, after a restart of the host is nobody's change: bringing it to its
manifest's `power` is `changed`, with `the host was restarted` in the message.
Values are in the manifest's units.

The ids never change. The level of a kind may change.

| Kind | Level | MESSAGE_ID | Meaning |
|---|---|---|---|
"""

HEAD = """\
# Explains virt-reconciler's messages: journalctl -x
# Written by scripts/make_journal_docs.py from the table of events; do not edit.
"""

# What a person does about it, where there is something to do.
ADVICE = {
    events.GUEST_NOT_READY: "The entry says what is missing, `virt-reconciler status NAME` what "
    "the guest agent told last. Nothing is changed because of it.",
    events.DISCONNECTED: "Nothing is concluded about any object, and the daemon tries again by "
    "itself. See systemctl status of libvirt's daemons and their sockets.",
    events.SOURCE_FAILED: "Nothing is changed or deleted. `virt-reconciler status` shows which "
    "revision is in force and since when.",
    events.SOURCE_REFUSED: "The last accepted revision stays in force. Find out who wrote the "
    "other one before you accept it.",
    events.INVALID: "The message names file, line and field. `virt-reconciler validate` "
    "reports every error before the manifests are committed.",
    events.WATCH: "The daemon finds changes by looking from time to time, which is slower "
    "and correct.",
    events.FAILED: "The daemon tries again if the error may pass by itself; otherwise the "
    "manifest or the domain must change first. `virt-reconciler status` "
    "shows the next try.",
    events.DRIFT: "Someone changed the machine by hand. To keep the change, change the "
    "manifest, or `virt-reconciler suspend` the machine.",
    events.NOT_READY: "`virt-reconciler status` says why, and which command helps.",
    events.PRUNE_BLOCKED: "More manifests are missing than the daemon may prune without a "
    "person's confirmation, or it is not certain that they were removed. "
    "`virt-reconciler status` says why.",
}
DEFAULT_ADVICE = "`virt-reconciler status` shows the current state."


def main() -> None:
    """Write the page and the catalog."""
    PAGE.write_text(render(), encoding="utf-8")
    CATALOG.write_text(render_catalog(), encoding="utf-8")


def render() -> str:
    """Return the page."""
    rows = (
        f"| `{kind.name}` | {kind.level.name.lower()} | `{kind.message_id}` | {kind.meaning} |\n"
        for kind in KINDS
    )
    return TEXT + "".join(rows)


def render_catalog() -> str:
    """Return the catalog, in the format of https://systemd.io/CATALOG."""
    return HEAD + "".join(f"\n{_entry(kind)}" for kind in KINDS)


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
