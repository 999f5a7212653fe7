"""Alert rules: Prometheus' own tool checks them, and raises each when it is to be raised."""

import json
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.services import found

ROOT = Path(__file__).parents[2]


def promtool(*arguments: str) -> None:
    """Run promtool; it is a service's, so it is missing on a laptop only."""
    done = subprocess.run(
        [found("promtool"), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.services
def test_prometheus_takes_its_configuration_and_the_rules() -> None:
    promtool("check", "config", "deploy/prometheus/prometheus.yml")
    promtool("test", "rules", "tests/alerts.yml")


@pytest.mark.services
def test_prometheus_understands_each_query_of_the_dashboard(tmp_path: Path) -> None:
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/uplynk-export.json").read_text())
    queries = [
        target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())
    ]
    rules = [{"record": f"query:{number}", "expr": expr} for number, expr in enumerate(queries)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", str(file))
