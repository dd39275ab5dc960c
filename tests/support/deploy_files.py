"""The manifests in `cluster/deploy/`, as the tests read them."""

import re
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "cluster" / "deploy"
GUIDE = ROOT / "docs" / "cluster.md"
UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def manifest(name: str) -> dict:
    return yaml.safe_load((DEPLOY / name).read_text())


def cluster_spec(name: str) -> dict:
    """The RayCluster part of a RayCluster or RayJob manifest."""
    spec = manifest(name)["spec"]
    return spec.get("rayClusterSpec", spec)


def groups(name: str) -> list[dict]:
    """Head and worker groups."""
    spec = cluster_spec(name)
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def container(group: dict) -> dict:
    (only,) = group["template"]["spec"]["containers"]
    return only


def amount(quantity: str | int) -> float:
    """A Kubernetes quantity as a number: "500m" is 0.5, "1Ki" 1024."""
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(quantity)).groups()
    return float(number) * UNITS[unit]
