"""The alert rules name metrics, labels and values that there are, and say what a person can use."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Dict, List, Set

import pytest
import yaml

from reconciler.core.metrics import BY_NAME, PREFIX, TABLE, Metric

ROOT = Path(__file__).parents[3]
FILE = ROOT / "packaging" / "prometheus" / "virt-reconciler.rules.yml"
ENDINGS = ("_bucket", "_sum", "_count")


def read_rules() -> List[Dict[str, Any]]:
    [group] = yaml.safe_load(FILE.read_text(encoding="utf-8"))["groups"]
    rules: List[Dict[str, Any]] = group["rules"]
    return rules


RULES = {rule["alert"]: rule for rule in read_rules()}


def metrics_of(rule: Dict[str, Any]) -> List[Metric]:
    """Return the metrics in the expression; each must be written as Prometheus shows it."""
    found = []
    for name in re.findall(rf"{PREFIX}(\w+)", rule["expr"]):
        ending = next((one for one in ENDINGS if name.endswith(one)), "")
        metric = BY_NAME[name[: len(name) - len(ending)]]
        assert (metric.type == "histogram") == bool(ending), name
        found.append(metric)
    return found


def labels_of(rule: Dict[str, Any]) -> Set[str]:
    return {label for metric in metrics_of(rule) for label in metric.labels}


def test_names_are_given_once() -> None:
    assert len(RULES) == len(read_rules())


@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_made_of_what_there_is(name: str) -> None:
    rule = RULES[name]
    metrics = metrics_of(rule)
    assert metrics
    for label, values in re.findall(r'[{,](\w+)=~?"([^"]*)"', rule["expr"]):
        [metric] = {one for one in metrics if label in one.labels}
        assert set(values.split("|")) <= set(metric.known), values
    for inner in re.findall(r"\b(?:by|without) \((\w+)\)", rule["expr"]):
        assert inner in labels_of(rule)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_says_what_is_wrong_and_what_to_do(name: str) -> None:
    rule = RULES[name]
    assert re.fullmatch(r"\d+[mhd]", rule["for"])
    assert rule["labels"] == {"severity": rule["labels"]["severity"]}
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    texts = rule["annotations"]
    assert set(texts) == {"summary", "description"}
    assert all(text.endswith(".") for text in texts.values())
    assert set(re.findall(r"\$labels\.(\w+)", texts["summary"])) <= labels_of(rule)


@pytest.mark.parametrize("name", RULES)
def test_what_counts_up_is_watched_for_its_increase_alone(name: str) -> None:
    expression = RULES[name]["expr"]
    for metric in metrics_of(RULES[name]):
        if metric.type == "counter":
            assert re.search(rf"(increase|rate)\({PREFIX}{metric.name}\b", expression)


def test_every_metric_has_a_rule() -> None:
    used = {metric.name for rule in RULES.values() for metric in metrics_of(rule)}
    assert {one.name for one in TABLE} - used == set()
