"""The Grafana dashboard: a file that Grafana can read, with metrics that the installed Ray or this program exports."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

from cluster.tally import StageMetrics
from tests.support.deploy_files import DEPLOY

BOARD = json.loads((DEPLOY / "grafana.json").read_text())
RAY = Path(importlib.util.find_spec("ray").origin).parent
OURS = {"ray_emovox_rows_total", "ray_emovox_stage_seconds_total", "ray_emovox_bytes_total"}
EXPRESSIONS = [target["expr"] for panel in BOARD["panels"] for target in panel.get("targets", [])]


def metrics_of(expression: str) -> set[str]:
    return set(re.findall(r"\bray_\w+", re.sub(r"\{[^}]*\}", "", expression)))


@pytest.fixture(scope="module")
def ray_names() -> set[str]:
    """What Ray's own dashboards ask for, and the metrics that Ray Data declares for each operator."""
    boards = (RAY / "dashboard" / "modules" / "metrics" / "dashboards").glob("*.py")
    names = {name for board in boards for name in re.findall(r"\bray_[a-z0-9_]+", board.read_text())}
    declared = (RAY / "data" / "_internal" / "execution" / "interfaces" / "op_runtime_metrics.py").read_text()
    return names | {f"ray_data_{name}" for name in re.findall(r"^    (?:def )?([a-z][a-z0-9_]+)[:(]", declared, re.M)}


def test_panels_have_ids_of_their_own_a_description_and_a_place():
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken = set()
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        assert panel["type"] == "row" or (panel["description"] and panel["targets"])
        assert len({target["refId"] for target in panel.get("targets", [])}) == len(panel.get("targets", []))


def test_every_metric_is_one_of_this_ray_or_ours(ray_names):
    asked = set().union(*map(metrics_of, EXPRESSIONS))
    assert asked - ray_names == OURS
    assert len(asked) > 15


def test_our_counters_are_those_that_the_workers_export(ray_session):
    """Ray puts `ray_` before an application's metric, and `_total` behind a counter."""
    exported = [metric.info["name"] for metric in vars(StageMetrics()).values()]
    assert {f"ray_{name}_total" for name in exported} == OURS


def test_expressions_are_closed_and_filtered_by_session():
    for expression in EXPRESSIONS:
        assert expression.count("(") == expression.count(")") and expression.count("{") == expression.count("}")
        assert expression.count('SessionName=~"$SessionName"') >= len(metrics_of(expression))
    assert {variable["name"] for variable in BOARD["templating"]["list"]} == {"datasource", "SessionName"}
