#!/usr/bin/env python3
"""Write docs/manifest.md and docs/configuration.md from the schemas: one heading for each field.

The defaults and effects are from the table of fields. A test holds the pages against the schemas.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Iterator, List, Mapping, Tuple

from field_facts import render_facts

ROOT = Path(__file__).resolve().parents[1]
SCHEMAS = ROOT / "schemas" / "v1"
DOCS = ROOT / "docs"

MANIFESTS = """\
# Manifests

<!-- Written by scripts/make_manifest_docs.py from schemas/v1; do not edit. -->

A manifest is a YAML document; a file may hold several. In a folder, every `*.yaml` and `*.yml`
below it is read, hidden ones left out. Problems of all files are reported at once, each as
`file:line:column: path: message`; an object with a problem is left out, the others go on.

Only `apiVersion`, `kind`, `metadata.name` and `spec` are always needed. To create a machine, `cpus`
and `memory` are enough; all the rest has defaults that suit its `os`. **A field that is left out is
not managed**: never compared, never changed.

The YAML is read strictly:

- Scalars follow YAML 1.2: only `true` and `false` are booleans; `on`, `off`, `yes`, `no` are words.
- Sizes have a unit (`KiB`, `MiB`, `GiB`, `TiB`), times one of `s`, `m`, `h`. A bare number is
  refused.
- Duplicate keys, unknown fields, tabs, tags of one's own and control characters are errors.
- Anchors and aliases may be used, up to 10,000 repeated values a file. Merge keys (`<<`) are
  refused: YAML 1.2 has none, and what they make of a manifest is hard to see in a review.
- A file is UTF-8 and at most 1 MiB. A syntax error leaves out its whole file.
- A path without any manifest is an error. It never means that nothing is wanted.

For editors with a YAML language server, `schemas/v1/all.json` completes and explains every field:
`# yaml-language-server: $schema=…/schemas/v1/all.json`.
"""

CONFIGURATION = """\
# The daemon's configuration

<!-- Written by scripts/make_manifest_docs.py from schemas/v1; do not edit. -->

`virt-reconciler run` reads `/etc/virt-reconciler/config.yaml`, or the file that `--config` names.
It is one YAML document, read as strictly as a [manifest](manifest.md) is: every problem is told at
once, as `file:line:column: path: message`, and the daemon does not start.

```
virt-reconciler config check                 # every problem; exits with 65 if there is one
virt-reconciler config check new-config.yaml
systemctl reload virt-reconciler             # checks it first, then has the daemon read it
```

If something is wrong, the reload fails, and the daemon goes on with the former configuration; a
`kill -HUP` that it refuses is shown by `status` and in the journal. A reload puts `source` and
`rescan` in force; if anything else has changed, `status` and the journal say `restart needed for`.
`status`, `suspend`, `resume`, `retry` and `prune` work while the file is wrong: they find the
daemon by `state` in it, or where that is by default, and say so.

Only `spec.source` must be given:

```yaml
apiVersion: virt-reconciler/v1
kind: Configuration
spec:
  source:
    directory: /etc/virt-reconciler/manifests
```

That a folder, a repository or libvirt is not there is no mistake in this file: the daemon starts,
shows it in its status, and goes on when it is back.
"""

# Each page, and the kinds that it describes.
PAGES = {
    "manifest": (MANIFESTS, ("VirtualMachine", "Template", "Host")),
    "configuration": (CONFIGURATION, ("Configuration",)),
}

TYPES = {
    "object": "mapping",
    "array": "list",
    "string": "text",
    "boolean": "true or false",
    "integer": "whole number",
}


@dataclass(frozen=True)
class Field:
    """A field of a schema, where it stands, and what is to be said of its value."""

    path: str
    node: Mapping[str, Any]
    facts: Tuple[str, ...]


def main() -> None:
    """Write the pages."""
    for name in PAGES:
        (DOCS / f"{name}.md").write_text(render(name), encoding="utf-8")


def render(name: str) -> str:
    """Return a page."""
    introduction, kinds = PAGES[name]
    parts = [introduction]
    for kind in kinds:
        schema = read_schema(kind)
        parts.append(f"## {kind}\n\n{schema['description']}\n")
        if kind == "VirtualMachine":
            parts.append(render_facts())
        parts.extend(map(_render_field, find_fields(schema)))
    return "\n".join(parts)


def read_schema(kind: str) -> Mapping[str, Any]:
    """Return the schema of a kind."""
    schema: Mapping[str, Any] = json.loads((SCHEMAS / f"{kind}.json").read_text(encoding="utf-8"))
    return schema


def find_fields(schema: Mapping[str, Any]) -> Iterator[Field]:
    """Yield every field, those of a mapping after it."""
    return _find_fields(schema, schema, "")


def _find_fields(node: Mapping[str, Any], root: Mapping[str, Any], path: str) -> Iterator[Field]:
    required = node.get("required", ())
    for name, field in node.get("properties", {}).items():
        where = f"{path}.{name}" if path else name
        forms = list(_forms(field, root))
        yield Field(where, field, tuple(_facts(field, forms, is_required=name in required)))
        for form in forms:
            inner = "[]" if form.get("type") == "array" else ""
            below = _resolve(form.get("items", {}), root) if inner else form
            yield from _find_fields(below, root, f"{where}{inner}")


def _facts(
    field: Mapping[str, Any], forms: List[Mapping[str, Any]], *, is_required: bool
) -> Iterator[str]:
    yield " or ".join(dict.fromkeys(_type(one) for one in forms))
    if is_required:
        yield "required"
    if "default" in field:
        yield f"`{json.dumps(field['default'])}` if left out"


def _render_field(field: Field) -> str:
    node = field.node
    lines = [f"### {field.path}\n", f"*{', '.join(field.facts)}*\n", f"{node['description']}\n"]
    if "examples" in node:
        examples = ", ".join(f"`{_example(one)}`" for one in node["examples"])
        lines.append(f"Examples: {examples}\n")
    return "\n".join(lines)


def _forms(field: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the alternatives of a field, with references followed."""
    for one in field.get("anyOf", [field]):
        yield _resolve(one, root)


def _resolve(node: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" not in node:
        return node
    found: Mapping[str, Any] = root["definitions"][node["$ref"].rpartition("/")[2]]
    return found


def _type(form: Mapping[str, Any]) -> str:
    if "enum" in form:
        return "one of " + ", ".join(f"`{one}`" for one in form["enum"])
    if form.get("title") == "Size":
        return "size"
    if form.get("type") == "array" and "enum" in form["items"]:
        return f"list of {_type(form['items'])}"
    return TYPES[form["type"]]


def _example(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


if __name__ == "__main__":
    main()
