"""The JSON plan, as scripts read it."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, Mapping, Sequence

import pytest
from jsonschema import Draft7Validator

from reconciler.adapters.manifests.schema_errors import read_schema
from reconciler.core.plan import Plan
from reconciler.core.render.json import render_json

from .plans import HOSTDEV, PLANS, USER_DATA

Golden = Callable[[Path, str], None]
GOLDEN = Path(__file__).parent / "golden"
SCHEMA = json.loads(read_schema("Plan"))
ACTIONS = {"create", "update", "delete", "adopt", "none", "withheld"}


def parse(plan: Plan) -> Dict[str, Any]:
    document: Dict[str, Any] = json.loads(render_json(plan))
    return document


@pytest.mark.parametrize("name", sorted(PLANS))
def test_plan_reads_as_its_golden_file(name: str, golden: Golden) -> None:
    golden(GOLDEN / f"{name}.json", render_json(PLANS[name]))


@pytest.mark.parametrize("name", sorted(PLANS))
def test_a_plan_fits_its_schema(name: str) -> None:
    found = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    assert list(Draft7Validator(SCHEMA).iter_errors(found)) == []


def undescribed(value: Any, schema: Mapping[str, Any], where: str = "") -> Iterator[str]:
    """Yield the keys that the schema says nothing of: it allows them, for versions to come."""
    if isinstance(value, list):
        for one in value:
            yield from undescribed(one, schema.get("items", {}), f"{where}[]")
    elif isinstance(value, dict):
        for key, one in value.items():
            if key not in schema.get("properties", {}):
                yield f"{where}.{key}"
            else:
                yield from undescribed(one, schema["properties"][key], f"{where}.{key}")


@pytest.mark.parametrize("name", sorted(PLANS))
def test_every_key_is_described(name: str) -> None:
    assert list(undescribed(parse(PLANS[name]), SCHEMA)) == []


@pytest.mark.parametrize(
    ("place", "value"),
    [
        pytest.param(("resources", 0, "action"), "replace", id="an-action"),
        pytest.param(("resources", 0, "changes", 0, "effect"), "soon", id="an-effect"),
        pytest.param(("resources", 0, "changes", 0, "observed"), [], id="a-value"),
        pytest.param(("resources", 0, "pending"), None, id="no-list"),
        pytest.param(("summary", "create"), -1, id="a-count"),
        pytest.param(("formatVersion",), 2, id="another-version"),
    ],
)
def test_the_schema_refuses_what_is_no_plan(place: Sequence[Any], value: Any) -> None:
    document = parse(PLANS["fragments"])
    assert Draft7Validator(SCHEMA).is_valid(document)
    inner: Any = document
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    assert not Draft7Validator(SCHEMA).is_valid(document)


def test_every_resource_is_listed_sorted_and_with_a_word_of_the_contract() -> None:
    resources = parse(PLANS["everything"])["resources"]
    names = [resource["name"] for resource in resources]
    assert names == sorted(action.name for action in PLANS["everything"].actions)
    assert {resource["action"] for resource in resources} <= ACTIONS


def test_summary_counts_the_words_that_are_listed() -> None:
    document = parse(PLANS["everything"])
    words = Counter(one["action"] for one in document["resources"])
    summary = document["summary"]
    failed, volumes = summary.pop("failed"), summary.pop("volumes")
    assert summary == {word: words[word] for word in summary}
    assert set(summary) == ACTIONS
    assert failed == sum(one["failed"] for one in document["resources"])
    assert volumes == 0


def test_deleted_volumes_are_counted_and_those_that_stay_are_not() -> None:
    summary = parse(PLANS["delete"])["summary"]
    assert (summary["delete"], summary["volumes"]) == (2, 1)


def test_sizes_are_bytes_and_absent_is_null() -> None:
    changes = {
        one["path"]: one for r in parse(PLANS["everything"])["resources"] for one in r["changes"]
    }
    assert changes["memory.size"]["desired"] == 4 * 1024**3
    assert changes["guestAgent"]["observed"] is None


def test_unknown_revision_is_null() -> None:
    assert parse(PLANS["unchanged"])["revision"] is None


@pytest.mark.parametrize("name", ["hostile", "fragments"])
def test_no_secret_is_printed(name: str) -> None:
    assert "hunter" not in render_json(PLANS[name])


def test_a_change_of_a_secret_alone_is_a_change() -> None:
    changes = parse(PLANS["fragments"])["resources"][0]["changes"]
    assert (changes[2]["observed"], changes[2]["desired"]) == ("(hidden)", "(hidden, other)")


def test_values_of_several_lines_stay_as_they_are() -> None:
    changes = parse(PLANS["fragments"])["resources"][0]["changes"]
    assert changes[0]["desired"] == HOSTDEV
    assert changes[3]["observed"] == USER_DATA.replace("hunter2", "(hidden)")


def test_order_of_actions_does_not_matter() -> None:
    plan = PLANS["everything"]
    turned = Plan(plan.host, plan.uri, plan.actions[::-1])
    assert render_json(turned) == render_json(plan)


def test_the_address_of_the_host_is_shown_without_its_password() -> None:
    plan = Plan("kvm01", "qemu+ssh://me:geheim7@kvm01/system", ())
    assert json.loads(render_json(plan))["uri"] == "qemu+ssh://me:(hidden)@kvm01/system"
