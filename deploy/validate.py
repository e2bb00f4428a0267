#!/usr/bin/env python3
"""Validates the kustomize base against the Kubernetes API schemas, and evaluates the mixin.

Exit status: 0 valid, 1 not valid, 77 skipped because a package is not installed (kubernetes-validate, jsonnet, PyYAML).
The chart's templates are not rendered here: that needs helm.
"""
import json
import pathlib
import re
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


def read_but_missing(chart):
    """Values that a template reads, and values.yaml does not have."""
    missing = []
    for path in sorted((ROOT / "deploy/helm/zcrxd/templates").iterdir()):
        for name in re.findall(r"\.Values\.([A-Za-z_.]+)", path.read_text()):
            value = chart
            for part in name.split("."):
                if not isinstance(value, dict) or part not in value:
                    missing.append(f"chart: {path.name} reads {name}, and values.yaml has none")
                    break
                value = value[part]
    return missing


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
        "{_config+:: {job: 'other', cluster: 'region', critical: 'page', thresholds+: {episodes_1h: 7}}};"
        "{alerts: m.prometheusAlerts, rules: m.prometheusRules, dashboards: m.grafanaDashboards}"
    )
    evaluated = json.loads(jsonnet.evaluate_snippet("mixin", source))
    rules = [rule for group in evaluated["alerts"]["groups"] for rule in group["rules"]]
    alerts = {rule["alert"]: rule for rule in rules if "alert" in rule}
    expected = {
        "ZcrxQueueStarvesRepeatedly": ">= 7",
        "ZcrxdDown": 'job=~"other"',
        "ZcrxQueueStarving": "> 60",
        "ZcrxReceiveCopying": "on (region, job, instance,",
    }
    for name, part in expected.items():
        if part not in alerts[name]["expr"]:
            complaints.append(f"mixin: {name} does not have its parameter {part}: {alerts[name]['expr']}")
    if {rule["labels"]["severity"] for rule in alerts.values()} != {"page", "warning"}:
        complaints.append("mixin: the severities are not those of the configuration")
    if re.search("@[a-z_0-9]+@", json.dumps([evaluated["alerts"], evaluated["rules"]])):
        complaints.append("mixin: a parameter is not filled in")
    if "cluster" in json.dumps([[rule["expr"] for rule in rules], evaluated["rules"]]):
        complaints.append("mixin: a query has another label for the cluster than the configuration")
    # The chart has a default for each parameter of its rules.
    chart = yaml.safe_load((ROOT / "deploy/helm/zcrxd/values.yaml").read_text())
    values = chart["prometheusRule"]
    parameters = {**values["thresholds"], **values["severities"]}
    parameters |= {name: values[name] for name in ("job", "cluster", "runbook")}
    template = (ROOT / "deploy/helm/zcrxd/templates/prometheusrule.yaml").read_text()
    unused = set(parameters)
    for file in ("alerts.yml", "recording.yml"):
        text = (ROOT / "deploy/helm/zcrxd/files" / file).read_text()
        for name, value in parameters.items():
            if f"@{name}@" in text:
                unused.discard(name)
                if name not in values["thresholds"] and f'"@{name}@"' not in template:
                    complaints.append(f"chart: prometheusrule.yaml does not fill in {name}")
            text = text.replace(f"@{name}@", str(value))
        groups = yaml.safe_load(text)["groups"]
        plain = yaml.safe_load((ROOT / "deploy/prometheus" / file).read_text())["groups"]
        if groups != plain:
            complaints.append(f"chart: with its default values, the rules differ from deploy/prometheus/{file}")
    complaints += [f"chart: no rule has the parameter {name}" for name in sorted(unused)]
    complaints += read_but_missing(chart)
    schema = json.loads((ROOT / "deploy/helm/zcrxd/values.schema.json").read_text())
    # A package that kubernetes-validate needs.
    import jsonschema

    errors = jsonschema.Draft7Validator(schema).iter_errors(chart)
    complaints += [f"chart: values.yaml, {error.json_path}: {error.message}" for error in errors]
    for complaint in complaints:
        print(complaint)
    sys.exit(1 if complaints else 0)


if __name__ == "__main__":
    main()
