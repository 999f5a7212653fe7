"""What is queried is what is told, what is told is documented, and each alert has its runbook."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from models import State
from models.figures import Pending, Standing
from tests.factories import make_settings
from tests.scraping import told
from worker.clock import local
from worker.cloudslicer.client import CALLS
from worker.cloudslicer.reply import OUTCOMES
from worker.metrics.fleet import Fleet
from worker.metrics.look import Look, Window
from worker.metrics.own import Own
from worker.pace import JOB_ERASED_AFTER
from worker.tally import Tally

ROOT = Path(__file__).parents[2]
OPERATE = (ROOT / "docs/operate.md").read_text()
DASHBOARD = json.loads((ROOT / "deploy/grafana/dashboards/uplynk-export.json").read_text())
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((ROOT / "deploy/prometheus/rules.yml").read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
NAME = re.compile(r"\buplynk_export[\w:]+")


def a_look() -> Look:
    """Return a look at which there is something of everything."""
    return Look(
        at=local(),
        standing={state: Standing(1, 1, local(), local()) for state in State},
        ended=dict.fromkeys(State, 1),
        spent={State.EXPORTING: [1.0, 2.0]},
        stored=1,
        stored_bytes=1,
        failed={"export_error": 1},
        bringing=(1, 1.0),
        window=Window(1, 1, 1),
        margin=JOB_ERASED_AFTER,
        is_circuit_open=False,
        paused=frozenset(),
        pending=Pending(1, local()),
        pending_due_at=local(),
        given_up=1,
    )


@pytest.fixture
def exported(tmp_path: Path) -> set[str]:
    """Give the names of all series that are told."""
    own = Own(Tally(), make_settings(tmp_path), ["exports"])
    return told(Fleet(a_look), own).names


def documented() -> set[str]:
    """Return the names that the table in docs/operate.md has, as a query has them."""
    rows = re.findall(r"^\| `(uplynk_export_\w+)(?:\{[\w, ]+\})?` \|", OPERATE, re.MULTILINE)
    return set(rows)


def queries() -> Iterator[tuple[str, str]]:
    for panel in DASHBOARD["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for rule in RULES:
        yield rule.get("alert") or rule["record"], rule["expr"]


def slug(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize(("where", "query"), list(queries()))
def test_what_is_queried_is_told(exported: set[str], where: str, query: str) -> None:
    names = set(NAME.findall(query)) - RECORDED
    assert names <= exported, where
    assert names or set(NAME.findall(query)) or "up{" in query, where


def test_what_is_told_is_documented_and_nothing_else(exported: set[str]) -> None:
    parts = re.compile(r"(?<=seconds)_(bucket|count|sum)$")
    assert {parts.sub("", name) for name in exported} == documented()


@pytest.mark.parametrize(
    ("label", "known"),
    [
        ("state", {str(state) for state in State}),
        ("outcome", set(OUTCOMES)),
        ("call", set(CALLS)),
        ("queue", {"exports", "downloads"}),
    ],
)
def test_a_value_that_is_queried_is_one(label: str, known: set[str]) -> None:
    asked = {
        value
        for _, query in queries()
        for given in re.findall(rf'\b{label}(?:=~?|!=|!~)\s*"([^"]+)"', query)
        for value in given.split("|")
    }
    assert asked, f"then nothing is to be checked of {label}"
    assert asked <= known


@pytest.mark.parametrize("alert", ALERTS, ids=[alert["alert"] for alert in ALERTS])
def test_an_alert_leads_to_a_paragraph_that_names_it(alert: dict[str, Any]) -> None:
    page, _, anchor = alert["annotations"]["runbook"].partition("#")
    assert page == "docs/operate.md"
    sections = re.split(r"^## ", OPERATE, flags=re.MULTILINE)[1:]
    (section,) = [each for each in sections if slug(each.splitlines()[0]) == anchor]
    assert alert["alert"] in section
    assert len(section.split()) > 20
    assert alert["labels"]["severity"] in {"page", "ticket"}


def test_every_alert_has_a_test() -> None:
    tests = yaml.safe_load((ROOT / "tests/alerts.yml").read_text())["tests"]
    raised = {
        case["alertname"]
        for test in tests
        for case in test.get("alert_rule_test", ())
        if case["exp_alerts"]
    }
    assert raised == {alert["alert"] for alert in ALERTS}


def test_what_an_operator_looks_at_first_is_at_the_top() -> None:
    first, *_ = sorted(
        (panel for panel in DASHBOARD["panels"] if panel["type"] != "row"),
        key=lambda panel: (panel["gridPos"]["y"], panel["gridPos"]["x"]),
    )
    assert first["type"] == "alertlist"
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
