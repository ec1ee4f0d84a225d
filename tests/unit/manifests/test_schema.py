"""The schema files, and that the fast validator agrees with jsonschema on them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, Iterator, List, Tuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from reconciler.adapters.manifests.schema_errors import explain, is_valid, load_schema, read_schema
from reconciler.core.documents import CONFIGURATION, DOCUMENTS
from reconciler.core.kinds import list_kinds
from reconciler.core.schema import UnknownKeywordError, compile_schema
from reconciler.errors import UsageError
from tests.strategies import Document, host_documents, machine_documents, template_documents

STRATEGIES = {
    "VirtualMachine": machine_documents(),
    "Template": template_documents(),
    "Host": host_documents(),
}
KINDS = list_kinds()
SCHEMAS = Path(__file__).parents[3] / "schemas" / "v1"

WORDS = (
    "", "none", "4GiB", "4G", "/x", "x/", "auto", "12:61", "02:00\n", "name", "a" * 70, ".x", "-x",
    "é", "<a/>", "52:54:00:00:00:01", "2m", "sat", "virtio", "mon", "q35",
)  # fmt: skip
KEYS = (
    "name", "size", "path", "template", "clone", "pool", "volume", "network", "bridge", "absent",
    "fragment", "xpath", "count", "x", "-", "spec", "duration",
)  # fmt: skip
LEAVES = (
    st.none() | st.booleans() | st.integers(-3, 5000) | st.floats() | st.just(1.0)
    | st.sampled_from(WORDS)
)  # fmt: skip
ANYTHING = LEAVES | st.lists(LEAVES, max_size=3) | st.dictionaries(st.sampled_from(KEYS), LEAVES)


def _containers(data: Any) -> Iterator[Any]:
    if isinstance(data, (dict, list)):
        yield data
        for one in data.values() if isinstance(data, dict) else data:
            yield from _containers(one)


def _mutate(draw: Any, document: Document) -> None:
    """Replace, remove, add or repeat something somewhere."""
    place = draw(st.sampled_from(list(_containers(document))))
    keys: List[Any] = sorted(place) if isinstance(place, dict) else list(range(len(place)))
    action = draw(st.sampled_from(("replace", "remove", "add", "repeat")))
    if action == "add" or not keys:
        if isinstance(place, dict):
            place[draw(st.sampled_from(KEYS))] = draw(ANYTHING)
        else:
            place.append(draw(ANYTHING))
        return
    key = draw(st.sampled_from(keys))
    if action == "replace":
        place[key] = draw(ANYTHING)
    elif action == "remove":
        del place[key]
    elif isinstance(place, list):
        place.append(copy.deepcopy(place[key]))


@st.composite
def _nearly_valid(draw: Any) -> Tuple[str, Document]:
    kind = draw(st.sampled_from(KINDS))
    document = copy.deepcopy(draw(STRATEGIES[kind]))
    for _ in range(draw(st.integers(0, 3))):
        _mutate(draw, document)
    return kind, document


@settings(max_examples=200)
@given(_nearly_valid())
def test_the_fast_validator_agrees_with_jsonschema(case: Tuple[str, Document]) -> None:
    kind, document = case
    assert is_valid(kind)(document) == Draft7Validator(load_schema(kind)).is_valid(document)


def _with(spec: Any, name: str = "a") -> Document:
    head = {"apiVersion": "virt-reconciler/v1", "kind": "VirtualMachine"}
    return {**head, "metadata": {"name": name}, "spec": spec}


LIMITS = [
    pytest.param(_with({"cpus": 4096}), _with({"cpus": 4097}), id="processors"),
    pytest.param(_with({"cpus": 1}), _with({"cpus": 0}), id="no processors"),
    pytest.param(_with({}, "a" * 63), _with({}, "a" * 64), id="length of a name"),
    pytest.param(_with({}, "a.b c"), _with({}, "a/b"), id="a name that is a path"),
    pytest.param(_with({}, "a"), _with({}, "a\n"), id="a name with a line break"),
    pytest.param(_with({}, "a.b"), _with({}, ".b"), id="a leading dot"),
    pytest.param(_with({}, "ü"), _with({}, "<ü/>"), id="a name that is XML"),
    pytest.param(_with({"memory": "1KiB"}), _with({"memory": "1KiB\n"}), id="a size with more"),
    pytest.param(
        _with({"requiredDaemons": []}),
        _with({"requiredDaemons": ["virtqemud"] * 2}),
        id="a daemon twice",
    ),
    pytest.param(
        {**_with({}), "metadata": {"name": "a", "labels": {"a": "b" * 1024}}},
        {**_with({}), "metadata": {"name": "a", "labels": {"a": "b" * 1025}}},
        id="length of a label",
    ),
    pytest.param(
        {**_with({}), "metadata": {"name": "a", "labels": {"a": ""}}},
        {**_with({}), "metadata": {"name": "a", "labels": {"": "a"}}},
        id="a key of a label",
    ),
]


@pytest.mark.parametrize(("inside", "outside"), LIMITS)
def test_limits_are_where_jsonschema_has_them(inside: Document, outside: Document) -> None:
    full = Draft7Validator(load_schema("VirtualMachine"))
    for check in (is_valid("VirtualMachine"), full.is_valid):
        assert (check(inside), check(outside)) == (True, False)


@settings(max_examples=100)
@given(_nearly_valid())
def test_whatever_is_refused_gets_a_reason_in_one_line(case: Tuple[str, Document]) -> None:
    kind, document = case
    found = explain(kind, load_schema(kind), document)
    assert bool(found) is not is_valid(kind)(document)
    assert all(one.message.isprintable() for one in found)


@given(machine_documents())
def test_the_strategy_for_machines_is_valid(document: Document) -> None:
    assert explain("VirtualMachine", load_schema("VirtualMachine"), document) == []


@given(template_documents())
def test_the_strategy_for_templates_is_valid(document: Document) -> None:
    assert explain("Template", load_schema("Template"), document) == []


@given(host_documents())
def test_the_strategy_for_hosts_is_valid(document: Document) -> None:
    assert explain("Host", load_schema("Host"), document) == []


@pytest.mark.parametrize(
    "schema",
    [
        pytest.param({"format": "email"}, id="an unknown keyword"),
        pytest.param({"type": ["string", "null"]}, id="several types"),
        pytest.param({"type": "number"}, id="an unknown type"),
        pytest.param({"enum": [1, 2]}, id="an enum of numbers"),
        pytest.param({"uniqueItems": True}, id="unique anything"),
        pytest.param({"dependencies": {"a": {"required": ["b"]}}}, id="a schema as dependency"),
        pytest.param({"properties": {"a": {"if": {}}}}, id="an unknown keyword inside"),
        pytest.param({"$ref": "#/definitions/a", "minimum": 1}, id="a keyword beside $ref"),
        pytest.param({"$ref": "other.json"}, id="another file"),
    ],
)
def test_what_the_fast_validator_does_not_know_it_refuses(schema: Any) -> None:
    with pytest.raises(UnknownKeywordError):
        compile_schema({"definitions": {"a": {}}, **schema})


def _fields(schema: Any, path: str = "") -> Iterator[Tuple[str, Any]]:
    if isinstance(schema, list):
        for one in schema:
            yield from _fields(one, path)
    elif isinstance(schema, dict):
        for name, field in schema.get("properties", {}).items():
            yield f"{path}.{name}", field
        for name, inner in schema.items():
            if name == "properties":
                for key, field in inner.items():
                    yield from _fields(field, f"{path}.{key}")
            else:
                yield from _fields(inner, path)


@pytest.mark.parametrize("kind", [*KINDS, *DOCUMENTS])
def test_every_field_has_a_description(kind: str) -> None:
    fields = dict(_fields(load_schema(kind)))
    assert len(fields) > 10
    assert [path for path, field in fields.items() if not field.get("description")] == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_pattern_has_words_for_people(kind: str) -> None:
    def lacking(schema: Any) -> Iterator[Any]:
        if isinstance(schema, dict):
            if isinstance(schema.get("pattern"), str) and "errorMessage" not in schema:
                yield schema
            schema = list(schema.values())
        for one in schema if isinstance(schema, list) else ():
            yield from lacking(one)

    assert list(lacking(load_schema(kind))) == []


@pytest.mark.parametrize("kind", [*KINDS, *DOCUMENTS, "all"])
def test_a_schema_is_valid_draft_07(kind: str) -> None:
    Draft7Validator.check_schema(json.loads(read_schema(kind)))


def test_the_schema_for_editors_knows_every_kind() -> None:
    schema = json.loads(read_schema("all"))
    assert schema["properties"]["kind"]["enum"] == list(KINDS)
    assert [one["then"]["$ref"] for one in schema["allOf"]] == [f"{kind}.json" for kind in KINDS]
    assert {path.stem for path in SCHEMAS.glob("*.json")} == {
        *KINDS,
        CONFIGURATION,
        *DOCUMENTS,
        "all",
    }


@pytest.mark.parametrize("kind", [*KINDS, *DOCUMENTS])
def test_examples_in_a_schema_fit_it(kind: str) -> None:
    schema = load_schema(kind)
    for path, field in _fields(schema):
        inner = {**field, "definitions": schema.get("definitions", {})}
        for example in field.get("examples", ()):
            assert Draft7Validator(inner).is_valid(example), f"{path}: {example}"


def test_a_schema_that_is_not_there_is_a_mistake_of_the_command_line() -> None:
    with pytest.raises(
        UsageError,
        match="Template, VirtualMachine, Configuration, Plan, Snapshot, Measurement and all",
    ):
        read_schema("../secret")
