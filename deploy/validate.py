#!/usr/bin/env python3
"""Validates the kustomize base against the Kubernetes API schemas, and evaluates the mixin.

Exit status: 0 valid, 1 not valid, 77 skipped because a package is not installed (kubernetes-validate, jsonnet, PyYAML).
The chart's templates are not rendered here: that needs helm.
"""
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PACKAGES = ["kubernetes-validate", "jsonnet", "pyyaml"]
VERSIONS = ["1.28", "1.31", "1.37.0"]


def packages():
    """Imports the packages, installed below target/ if need be."""
    folder = ROOT / "target" / "python"
    sys.path.insert(0, str(folder))
    try:
        import _jsonnet, kubernetes_validate, yaml
    except ImportError:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), *PACKAGES]
        installed = subprocess.run(command, capture_output=True, text=True)
        if installed.returncode != 0:
            print("skipped:", ", ".join(PACKAGES), "not installed")
            sys.exit(77)
        import importlib

        importlib.invalidate_caches()
        import _jsonnet, kubernetes_validate, yaml
    return _jsonnet, kubernetes_validate, yaml


def main():
    jsonnet, kubernetes, yaml = packages()
    complaints = []
    for path in sorted((ROOT / "deploy/kustomize").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            if document["kind"] == "Kustomization":
                continue
            for version in VERSIONS:
                try:
                    kubernetes.validate(document, version, strict=True)
                except kubernetes.ValidationError as error:
                    complaints.append(f"{path.name}, Kubernetes {version}: {error.message}")
    mixin = str(ROOT / "deploy/mixin/mixin.libsonnet")
    source = (
        f"local m = (import {json.dumps(mixin)}) + "
        "{_config+:: {job: 'other', critical: 'page', thresholds+: {episodes_1h: 7}}};"
        "{alerts: m.prometheusAlerts, rules: m.prometheusRules, dashboards: m.grafanaDashboards}"
    )
    evaluated = json.loads(jsonnet.evaluate_snippet("mixin", source))
    rules = [rule for group in evaluated["alerts"]["groups"] for rule in group["rules"]]
    alerts = {rule["alert"]: rule for rule in rules if "alert" in rule}
    expected = {
        "ZcrxQueueStarvesRepeatedly": ">= 7",
        "ZcrxdDown": 'job=~"other"',
        "ZcrxQueueStarving": "> 60",
    }
    for name, part in expected.items():
        if part not in alerts[name]["expr"]:
            complaints.append(f"mixin: {name} does not have its parameter {part}: {alerts[name]['expr']}")
    if {rule["labels"]["severity"] for rule in alerts.values()} != {"page", "warning"}:
        complaints.append("mixin: the severities are not those of the configuration")
    if any(mark in json.dumps(evaluated["alerts"]) for mark in ("@job@", "@runbook@", "@episodes_1h@")):
        complaints.append("mixin: a parameter is not filled in")
    # The chart has a default for each parameter of its rules.
    values = yaml.safe_load((ROOT / "deploy/helm/zcrxd/values.yaml").read_text())["prometheusRule"]
    text = (ROOT / "deploy/helm/zcrxd/files/alerts.yml").read_text()
    for name, value in {**values["thresholds"], "job": values["job"], "runbook": values["runbook"]}.items():
        if f"@{name}@" not in text:
            complaints.append(f"chart: no rule has the parameter {name}")
        text = text.replace(f"@{name}@", str(value))
    groups = yaml.safe_load(text)["groups"]
    plain = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())["groups"]
    if groups != plain:
        complaints.append("chart: with its default values, the rules differ from deploy/prometheus/alerts.yml")
    for complaint in complaints:
        print(complaint)
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
