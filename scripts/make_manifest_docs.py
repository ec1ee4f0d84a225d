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
EXAMPLE = ROOT / "manifests" / "full.yaml"

MANIFESTS = """\
# Manifests

<!-- Written by scripts/make_manifest_docs.py from schemas/v1; do not edit. -->

This example is in [manifests/full.yaml](../manifests/full.yaml). It has most of the fields; a real
manifest needs few of them.

```yaml
@EXAMPLE@
```

A manifest is a YAML document; a file may contain several. In a folder, every `*.yaml` and `*.yml`
below it is read, except hidden ones. Errors of all files are reported at once, each as
`file:line:column: path: message`; an object with an error is left out, the others are processed.

Only `apiVersion`, `kind`, `metadata.name` and `spec` are always required. To create a machine,
`cpus` and `memory` are enough; everything else has a default that suits its `os`. **A field you
leave out is not managed**: it is never compared and never changed. **A list you give is the whole
list**; anything else is removed. [Concepts](concepts.md) explains the words.

YAML is read strictly:

- Scalars follow YAML 1.2: only `true` and `false` are booleans; `on`, `off`, `yes`, `no` are text.
- Sizes have a unit (`KiB`, `MiB`, `GiB`, `TiB`), times one of `s`, `m`, `h`. A bare number is
  refused.
- Duplicate keys, unknown fields, tabs, custom tags and control characters are errors.
- Anchors and aliases are allowed, up to 10,000 repeated values in a file. Merge keys (`<<`) are
  refused: YAML 1.2 has none, and a reviewer cannot see easily what they do.
- A file is UTF-8 and at most 1 MiB. A syntax error leaves out the whole file.
- A path without any manifest is an error. It never means that everything is removed.

In editors with a YAML language server, `schemas/v1/all.json` completes and explains every field:
`# yaml-language-server: $schema=…/schemas/v1/all.json`.
"""

CONFIGURATION = """\
# Configuration

<!-- Written by scripts/make_manifest_docs.py from schemas/v1; do not edit. -->

The daemon reads `/etc/virt-reconciler/config.yaml`, or the file that `--config` names. It is one
YAML document, read as strictly as a [manifest](manifest.md). If it has errors, all of them are
reported at once, as `file:line:column: path: message`, and the daemon does not start.

```
virt-reconciler config check                 # every error; exits with 65 if there is one
virt-reconciler config check new-config.yaml
systemctl reload virt-reconciler             # checks it first, then reloads it
```

If the file has an error, the reload fails, and the daemon keeps the former configuration;
`status` and the journal report a `kill -HUP` that it refused. `source` and `rescan` take effect
at a reload; if anything else has changed, `status` and the journal say `restart needed for`.
`status`, `suspend`, `resume`, `retry` and `prune` work while the file has errors: they find the
daemon by `state` in it, or by its default, and say so.

Only `spec.source` is required:

```yaml
apiVersion: virt-reconciler/v1
kind: Configuration
spec:
  source:
    directory: /etc/virt-reconciler/manifests
```

A missing folder, repository or libvirt is not an error of this file: the daemon starts, shows it in
`status`, and continues when it is available.
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
    example = EXAMPLE.read_text(encoding="utf-8").strip()
    parts = [introduction.replace("@EXAMPLE@", example)]
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
    yield " or ".join(dict.fromkeys(_type(form) for form in forms))
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
    whole = _resolve(field, root)
    for one in whole.get("anyOf", [whole]):
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
