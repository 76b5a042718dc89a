"""The dashboard and the alerts of many lines, against what a line really says of itself."""

import json
import os
import re
import shutil
import subprocess
from pathlib import PurePosixPath

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.line.records import eventually
from tests.service.served import configuration, picture, served
from tests.support.places import ROOT

promql = pytest.importorskip("promql_parser", reason="needs promql-parser, of the extra test")
yaml = pytest.importorskip("yaml", reason="needs PyYAML, of the extra test")

FOLDER = ROOT / "examples" / "fleet"
OF_THE_SCRAPE = {"line", "job", "instance"}
OF_PROMETHEUS = {"up": set(), "ALERTS": {"alertname", "alertstate", "severity", "station", "sink"}}


def read(name):
    return yaml.safe_load((FOLDER / name).read_text("utf-8"))


DASHBOARD = json.loads((FOLDER / "grafana/dashboards/lines.json").read_text("utf-8"))
RULES = [rule for group in read("alerts.yml")["groups"] for rule in group["rules"]]
PANELS = {
    f"{panel['title']}, {target['refId']}": target
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
}
VARIABLES = {each["name"]: each["query"]["query"] for each in DASHBOARD["templating"]["list"]}
EXPRESSIONS = {
    **{name: target["expr"] for name, target in PANELS.items()},
    **{f"alert {rule['alert']}": rule["expr"] for rule in RULES},
    **{f"note {note['name']}": note["expr"] for note in DASHBOARD["annotations"]["list"]},
}


@pytest.fixture(scope="module")
def exposed(detector_file, tmp_path_factory):
    """Labels of every sample of a line at work, by its name."""
    found = {name: set(labels) for name, labels in OF_PROMETHEUS.items()}
    with served(configuration(tmp_path_factory.mktemp("line"), detector_file)) as line:
        line.inspect(picture())
        assert eventually(lambda: "part_seconds_bucket" in line.client.get("/metrics").text)
        for family in text_string_to_metric_families(line.client.get("/metrics").text):
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def parsed(expression):
    return promql.parse(expression.replace("$__rate_interval", "5m"))


def children(node):
    """What stands inside an expression."""
    inner = []
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        inner.append(getattr(node, name, None))
    inner += getattr(node, "args", None) or []
    return [each for each in inner if each is not None and not isinstance(each, str | int | float)]


def selectors(node):
    if isinstance(node, promql.VectorSelector):
        yield node
        return
    for inner in children(node):
        yield from selectors(inner)


def groupings(node):
    if isinstance(node, promql.AggregateExpr) and node.modifier is not None:
        yield set(node.modifier.labels), node
    for inner in children(node):
        yield from groupings(inner)


def asked(node):
    """Names with the labels that an expression asks of them."""
    for selector in selectors(node):
        yield selector.name, {matcher.name for matcher in selector.matchers.matchers}


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_every_expression_asks_for_what_a_line_says(exposed, expression):
    found = list(asked(parsed(expression)))
    assert found
    for name, labels in found:
        assert name in exposed, f"no line exposes {name}"
        assert labels <= exposed[name] | OF_THE_SCRAPE, name
    for labels, inside in groupings(parsed(expression)):
        for name, _ in asked(inside):
            assert labels <= exposed[name] | OF_THE_SCRAPE, f"{labels} of {name}"


@pytest.mark.parametrize("expression", EXPRESSIONS.values(), ids=EXPRESSIONS)
def test_outcomes_and_jobs_are_those_that_there_are(exposed, expression):
    for selector in selectors(parsed(expression)):
        for matcher in selector.matchers.matchers:
            known = {
                "outcome": {"ok", "review", "ng", "errors", "dropped"},
                "job": {each["job_name"] for each in read("prometheus.yml")["scrape_configs"]},
            }.get(matcher.name)
            if known is not None:
                assert set(matcher.value.split("|")) <= known


@pytest.mark.parametrize(
    "expression",
    [
        "pyramidflow_part_total",
        'pyramidflow_parts_total{verdict="ng"}',
        "sum by (stations) (pyramidflow_parts_total)",
    ],
)
def test_a_wrong_name_or_label_is_seen(exposed, expression):
    with pytest.raises(AssertionError):
        test_every_expression_asks_for_what_a_line_says(exposed, expression)


@pytest.mark.parametrize("target", PANELS.values(), ids=PANELS)
def test_a_legend_names_what_its_expression_keeps(target):
    named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
    kept = [labels for labels, _ in groupings(parsed(target["expr"]))]
    assert all(named <= labels for labels in kept) or not named
    assert bool(kept) or not named


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_names_what_it_has(exposed, rule):
    used = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
    kept = [labels for labels, _ in groupings(parsed(rule["expr"]))]
    there = kept or [exposed[name] | OF_THE_SCRAPE for name, _ in asked(parsed(rule["expr"]))]
    assert all(used <= labels for labels in there)
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert set(rule["annotations"]) == {"summary", "description"}


def test_every_metric_of_a_line_is_shown_or_watched(exposed):
    """What a line says and nobody sees is forgotten here, or should not be said."""
    shown = {name for text in EXPRESSIONS.values() for name, _ in asked(parsed(text))}
    families = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in exposed}
    families -= set(OF_PROMETHEUS)
    left = families - {re.sub(r"_bucket$", "", name) for name in shown}
    assert left == {"pyramidflow_waiting_picture_bytes"}


def test_the_dashboard_is_one():
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert DASHBOARD["schemaVersion"] >= 39
    assert DASHBOARD["uid"]
    places = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        squares = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not squares & places, panel["title"]
        places |= squares
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    [source] = read("grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    uids = set(re.findall(r'"uid": "(prom\w+)"', json.dumps(DASHBOARD)))
    assert uids == {source["uid"]}


def test_the_variables_are_labels_that_there_are(exposed):
    for name, query in VARIABLES.items():
        [(selector, label)] = re.findall(r"^label_values\((.+), (\w+)\)$", query)
        [(metric, labels)] = asked(parsed(selector))
        assert label == name
        assert {label, *labels} <= exposed[metric] | OF_THE_SCRAPE
    used = set(re.findall(r"\$(\w+)", " ".join([*EXPRESSIONS.values(), *VARIABLES.values()])))
    assert used - {"__rate_interval"} == set(VARIABLES)


def test_prometheus_reads_the_files_that_it_is_given():
    settings = read("prometheus.yml")
    volumes = read("compose.yaml")["services"]["prometheus"]["volumes"]
    mounted = {volume.split(":")[1] for volume in volumes}
    [scrape] = settings["scrape_configs"]
    named = [*settings["rule_files"], scrape["authorization"]["credentials_file"]]
    named += scrape["file_sd_configs"][0]["files"]
    assert set(named) <= mounted
    assert scrape.get("metrics_path", "/metrics") == "/metrics"
    for group in read("lines.example.yml"):
        assert set(group["labels"]) == {"line"}
        assert all(target.endswith(":8720") for target in group["targets"])


def test_compose_mounts_what_is_there():
    found = read("compose.yaml")
    assert set(found) == {"services", "volumes"}
    known = {"image", "command", "environment", "volumes", "ports", "depends_on", "restart"}
    known |= {"read_only", "cap_drop", "security_opt"}
    made_by_hand = {"lines.yml", "token"}
    for name, service in found["services"].items():
        assert set(service) <= known, name
        assert re.search(r":v?\d+\.\d+\.\d+$", service["image"]), "a version, so that it stays"
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
        assert set(service.get("depends_on", [])) <= set(found["services"])
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            if source.startswith("./"):
                place = PurePosixPath(source)
                assert (FOLDER / place).exists() or str(place) in made_by_hand
                assert volume.endswith(":ro")
            else:
                assert source in found["volumes"]
    mounts = dict(v.split(":")[:2] for v in found["services"]["grafana"]["volumes"])
    [provider] = read("grafana/provisioning/dashboards/pyramidflow.yaml")["providers"]
    assert provider["options"]["path"] == mounts["./grafana/dashboards"]


def test_docker_takes_the_compose_file(tmp_path):
    compose = ["docker", "compose"]
    if shutil.which("docker") is None or subprocess.run([*compose, "version"]).returncode:
        pytest.skip("docker compose is not installed")
    shutil.copytree(FOLDER, tmp_path / "fleet")
    command = [*compose, "-f", str(tmp_path / "fleet/compose.yaml"), "config", "--quiet"]
    environment = os.environ | {"GRAFANA_PASSWORD": "x"}
    found = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
