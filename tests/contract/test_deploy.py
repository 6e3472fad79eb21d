"""What is in deploy/: dashboards and alerts speak of metrics that exist, options are those of `tokenwire serve`."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tokenwire.chat.load import ServiceLoad
from tokenwire.cli.serve import serve
from tokenwire.config import LogConfig, ServerConfig
from tokenwire.error_table import ERROR_TABLE
from tokenwire.metrics.metrics import Metrics
from tokenwire.v1.errors_pb2 import ErrorReason
from tokenwire.v1.operations_pb2 import ServerState

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
CHART = DEPLOY / "helm" / "tokenwire"
DASHBOARD = json.loads((DEPLOY / "grafana" / "tokenwire.json").read_text())
ALERTS = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
EXPRESSIONS = [
    *(target["expr"] for panel in DASHBOARD["panels"] for target in panel.get("targets", ())),
    *(rule["expr"] for group in ALERTS["groups"] for rule in group["rules"]),
]


def families() -> dict[str, set[str]]:
    """Names of the metrics that a server has, and of the samples of each."""
    metrics = Metrics(model="m", load=lambda: ServiceLoad(state=ServerState.SERVER_STATE_SERVING))
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
    return {
        family.name: {family.name + suffix for suffix in suffixes[family.type]}
        for family in metrics.registry.collect()
        if family.type in suffixes
    }


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_speak_of_metrics_that_exist(expression: str) -> None:
    asked = set(re.findall(r"\b(?:tokenwire|process|python)_\w+", expression)) | {"up"} & {expression[:2]}
    assert asked
    assert asked <= set().union({"up"}, *families().values())


def test_the_table_of_metrics_in_the_docs_is_what_there_is() -> None:
    told = re.findall(r"^\| `(tokenwire_\w+)` \|", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    ours = {name: samples for name, samples in families().items() if name.startswith("tokenwire_")}
    shown = {f"{name}_total" if f"{name}_total" in samples else name for name, samples in ours.items()}
    assert sorted(told) == sorted(shown)


def test_reasons_in_expressions_are_those_of_the_error_table() -> None:
    reasons = {ErrorReason.Name(reason).removeprefix("ERROR_REASON_") for reason in ERROR_TABLE}
    asked = [
        word for text in EXPRESSIONS for found in re.findall(r'reason=~?"([^"]+)"', text) for word in found.split("|")
    ]
    assert asked
    assert set(asked) <= reasons


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = [
        (x, y)
        for panel in panels
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(places)) == len(places)
    assert all(x < 24 for x, _ in places)


def values() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
    return loaded


def schema() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
    return loaded


def test_the_chart_s_values_meet_its_schema() -> None:
    jsonschema.Draft7Validator(schema()).validate(values())


@pytest.mark.parametrize(
    "wrong",
    [{"model": ""}, {"options": {"port": 1}}, {"options": {"max-running": 1}}, {"ports": {"grpc": 0}}, {"replica": 2}],
)
def test_wrong_values_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(schema()).validate({**values(), **wrong})


def option_names() -> Iterator[str]:
    """Of `tokenwire serve`, as in a file of options."""
    for group in serve.__annotations__.values():
        if hasattr(group, "__dataclass_fields__"):
            yield from (field.name for field in fields(group))


def test_options_that_the_chart_and_the_image_set_exist() -> None:
    known = set(option_names())
    template = (CHART / "templates" / "options.yaml").read_text()
    files = [DEPLOY / "Dockerfile", DEPLOY / "compose.yaml"]
    environment = {name for file in files for name in re.findall(r"\bTOKENWIRE_([A-Z_]+)\b", file.read_text())}
    set_by_chart = set(re.findall(r'set \$options "(\w+)"', template)) | {
        name for line in re.findall(r"dict (.*)", template) for name in re.findall(r'"(\w+)" (?:\.|")', line)
    }
    assert {"model", "drain_grace_s", "tls_key", "log_format"} <= set_by_chart
    assert set_by_chart <= known
    assert {name.lower() for name in environment} <= known


def test_a_pod_and_a_container_are_killed_only_after_the_grace_of_the_drain() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    grace = compose["services"]["tokenwire"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > ServerConfig().drain_grace_s
    deployment = (CHART / "templates" / "deployment.yaml").read_text()
    assert "add .Values.preStopS .Values.drainGraceS .Values.killAfterS" in deployment


def test_logs_of_containers_are_for_machines() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert compose["services"]["tokenwire"]["environment"]["TOKENWIRE_LOG_FORMAT"] != LogConfig().log_format
