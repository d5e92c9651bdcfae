"""What operators are given to watch the service by: every metric in it is one that the service has."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.service import Service

DOCS = Path(__file__).parent.parent / "docs"
SUFFIXES = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"], "info": ["_info"], "gauge": [""]}
NAME = re.compile(r"\b(?:longhand|process)_\w+")
LABELS = re.compile(r"\bby \(([\w, ]+)\)|(\w+)=~?\"|{{(\w+)}}")


def panels() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((DOCS / "grafana.json").read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((DOCS / "alerts.yaml").read_text())
    return [rule for group in document["groups"] for rule in group["rules"]]


def expressions() -> list[str]:
    of_panels = [target["expr"] for panel in panels() for target in panel["targets"]]
    return of_panels + [rule["expr"] for rule in rules()]


async def families(service: Service) -> dict[str, str]:
    """Return the type of each metric by its name, those without a value included."""
    found = text_string_to_metric_families((await service.http.get("/metrics")).text)
    return {family.name: family.type for family in found if not family.name.endswith("_created")}


def test_the_dashboard_is_whole() -> None:
    places = [panel["gridPos"] for panel in panels()]

    assert len({panel["id"] for panel in panels()}) == len(places) > 15
    assert len({(place["x"], place["y"]) for place in places}) == len(places)
    assert all(panel["title"] and panel["description"].endswith(".") and panel["targets"] for panel in panels())


def test_the_alert_rules_are_whole() -> None:
    assert len(rules()) == len({rule["alert"] for rule in rules()}) > 5
    assert all(rule["annotations"]["summary"].endswith((".", "?")) and rule["labels"]["severity"] for rule in rules())


async def test_every_metric_that_is_watched_is_one_of_the_services(service: Service) -> None:
    found = {name + suffix for name, kind in (await families(service)).items() for suffix in SUFFIXES[kind]}

    watched = {name for expression in expressions() for name in NAME.findall(expression)}
    assert len(watched) > 25
    assert watched <= found


async def test_every_metric_and_its_labels_are_explained(service: Service) -> None:
    names = {
        name + {"counter": "_total", "info": "_info"}.get(kind, "") for name, kind in (await families(service)).items()
    }
    text = (DOCS / "watching.md").read_text(encoding="utf-8")
    section = text[text.index("## Metrics") : text.index("## Traces")]
    rows = [line.split("|") for line in section.splitlines() if line.startswith("| `")]
    told = {name for row in rows for name in re.findall(r"`(longhand_\w+)`", row[1])}
    labels = {label for row in rows for label in re.findall(r"`(\w+)`", row[2])}

    assert told == {name for name in names if name.startswith("longhand_")}
    assert labels == {
        "phase", "status", "error_code", "model", "state", "kind", "route", "method", "held", "lane", "version"
    }  # fmt: skip


@pytest.mark.parametrize("expression", expressions())
def test_what_is_watched_is_told_apart_by_labels_that_there_are(expression: str) -> None:
    used = {label.strip() for found in LABELS.findall(expression) for label in ",".join(filter(None, found)).split(",")}

    assert used <= {
        "job", "le", "phase", "status", "error_code", "model", "state", "kind", "route", "method", "held", "lane"
    }  # fmt: skip
