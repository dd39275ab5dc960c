"""`cluster/deploy/` and its guide: manifests against their schemas, and against this project's own versions and jobs.

None of it needs a cluster, Docker or a network. That KubeRay and AWS do with the files what is hoped is not shown here.
"""

import ast
import copy
import importlib.util
import json
import os
import re
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft7Validator, Draft202012Validator

from cluster.budget import Stage, require_room
from tests.support.deploy_files import (
    DEPLOY,
    GUIDE,
    ROOT,
    amount,
    cluster_spec,
    commands,
    container,
    groups,
    manifest,
    problem_of,
)

KUBERAY = ["raycluster.yaml", "rayjob-label.yaml", "rayjob-distill.yaml"]
DEPLOYED = sorted(path for path in [*DEPLOY.iterdir(), GUIDE, ROOT / ".dockerignore"] if path.is_file())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
IMAGE = f"REGISTRY/emovox:{PROJECT['version']}"
OLDEST_KUBERNETES = "1.30"
PINS = dict(re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), flags=re.M))


def schema_of(kind: str) -> dict:
    schema = yaml.safe_load((ROOT / "tests" / "support" / "schemas" / "kuberay.yaml").read_text())
    return schema | {"$ref": f"#/$defs/{kind[0].lower()}{kind[1:]}"}


def errors(schema: dict, instance: dict, validator: type = Draft202012Validator) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator(schema).iter_errors(instance)]


@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_manifest_follows_the_custom_resource(name):
    assert errors(schema_of(manifest(name)["kind"]), manifest(name)) == []


@pytest.mark.parametrize("name", KUBERAY)
def test_pods_follow_the_schema_that_kubernetes_publishes(name):
    for group in groups(name):
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": group["template"]["spec"]}
        kubernetes_validate.validate(pod, OLDEST_KUBERNETES, strict=True)
        kubernetes_validate.validate(pod, kubernetes_validate.latest_version(), strict=True)
        misspelt = copy.deepcopy(pod)
        misspelt["spec"]["containers"][0]["resource"] = {}
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(misspelt, OLDEST_KUBERNETES, strict=True)


@pytest.mark.parametrize("name", KUBERAY)
def test_clusters_ask_for_a_token(name):
    """Whoever reaches an open Ray head can run any command on the cluster."""
    assert cluster_spec(name)["authOptions"] == {"mode": "token"}


def test_the_aws_cluster_asks_for_a_token_that_is_not_in_the_file():
    file = manifest("aws.yaml")
    for command in [*file["head_start_ray_commands"], *file["worker_start_ray_commands"]]:
        assert "ray start" not in command or "RAY_AUTH_MODE=token" in command
    assert file["file_mounts"]["/home/ubuntu/.ray/auth_token"] == "~/.ray/auth_token"


def with_change(path: list, value) -> dict:
    changed = copy.deepcopy(manifest("rayjob-label.yaml"))
    *parents, last = path
    place = changed["spec"]
    for key in parents:
        place = place[key]
    place[last] = value
    return changed


WORKER = ["rayClusterSpec", "workerGroupSpecs", 0]


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["shutdownAfterJobFinish"], True),  # a misspelt field, which the API server would drop without a word
        (["backoffLimit"], "0"),
        ([*WORKER, "minReplicas"], "4"),
        ([*WORKER, "rayStartParams", "num-cpus"], 8),  # KubeRay wants strings
        ([*WORKER, "template", "spec", "containers", 0, "resources", "limits", "memory"], "32 GB"),
        ([*WORKER, "template", "spec", "containers", 0, "lifecycle", "preStop", "command"], ["ray", "stop"]),
        ([*WORKER, "template", "spec", "containers", 0, "envFrom", 0, "secretKeyRef"], {"name": "emovox-s3"}),
    ],
)
def test_the_schema_refuses_a_wrong_manifest(path, value):
    assert errors(schema_of("RayJob"), with_change(path, value))


def closed(schema):
    """A CRD's schema with unknown fields refused, where the API server would prune them."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {key: closed(part) for key, part in schema.items()}
    open_ended = "additionalProperties" in schema or schema.get("x-kubernetes-preserve-unknown-fields")
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object" and not open_ended:
        schema["additionalProperties"] = False
    return schema


@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_manifest_follows_the_whole_crd(name):
    folder = os.environ.get("EMOVOX_KUBERAY_CRDS")
    if not folder:
        pytest.skip("set EMOVOX_KUBERAY_CRDS to KubeRay's helm-chart/kuberay-operator/crds")
    kind = manifest(name)["kind"]
    crd = yaml.safe_load(Path(folder, f"ray.io_{kind.lower()}s.yaml").read_text())
    (version,) = [version for version in crd["spec"]["versions"] if version["name"] == "v1"]
    assert errors(closed(version["schema"]["openAPIV3Schema"]), manifest(name)) == []


def ray_schema() -> dict:
    """Ray's own schema of a cluster file, found without importing Ray."""
    ray = Path(importlib.util.find_spec("ray").origin).parent
    return json.loads((ray / "autoscaler" / "ray-schema.json").read_text())


def test_aws_file_follows_the_schema_of_the_installed_ray():
    assert errors(ray_schema(), manifest("aws.yaml"), Draft7Validator) == []
    assert errors(ray_schema(), manifest("aws.yaml") | {"head_node": {}}, Draft7Validator)  # the schema has teeth


def test_aws_nodes_have_a_head_on_demand_workers_on_spot_and_roles_in_place_of_keys():
    file = manifest("aws.yaml")
    types = file["available_node_types"]
    assert types[file["head_node_type"]]["resources"]["CPU"] == 0
    for name, node in types.items():
        spot = node["node_config"].get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        assert spot == (name != file["head_node_type"]), name
        assert node["node_config"]["IamInstanceProfile"]["Name"], name
    assert sum(node["max_workers"] for node in types.values()) <= file["max_workers"]


def test_aws_setup_installs_this_project_by_its_pins():
    setup = " ".join(manifest("aws.yaml")["setup_commands"])
    assert "--constraint constraints.txt --override overrides.txt" in setup
    assert manifest("aws.yaml")["file_mounts"]["/home/ubuntu/emovox"] == "."


@pytest.mark.parametrize("name", KUBERAY)
def test_kuberay_versions_are_those_of_the_project(name):
    assert cluster_spec(name)["rayVersion"] == PINS["ray"]
    assert {container(group)["image"] for group in groups(name)} == {IMAGE}


def test_the_image_is_named_alike_everywhere():
    for path in DEPLOYED:
        assert set(re.findall(r"\S+/emovox:[\w.]+", path.read_text())) <= {IMAGE}, path


@pytest.mark.parametrize("name", KUBERAY)
def test_ray_is_told_what_the_pod_has(name):
    for group in groups(name):
        limits, params = container(group)["resources"]["limits"], group["rayStartParams"]
        head = "groupName" not in group
        assert container(group)["resources"]["requests"] == limits
        assert amount(params["num-cpus"]) == (0 if head else amount(limits["cpu"]))
        assert amount(params.get("num-gpus", 0)) == amount(limits.get("nvidia.com/gpu", 0))
        assert amount(params["object-store-memory"]) <= 0.3 * amount(limits["memory"]), "Ray's own share of the memory"
        assert group["template"]["spec"]["restartPolicy"] == "Never", "autoscaler v2 wants new pods"
        if not head:
            assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]


@pytest.mark.parametrize("name", KUBERAY)
def test_pods_take_credentials_from_account_or_secret_and_run_without_root(name):
    for group in groups(name):
        pod = group["template"]["spec"]
        assert pod["serviceAccountName"] == "emovox"
        assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == 1000
        assert container(group)["envFrom"] == [{"secretRef": {"name": "emovox-s3", "optional": True}}]
        assert "env" not in container(group)


@pytest.mark.parametrize("path", DEPLOYED, ids=lambda path: path.name)
def test_no_file_holds_anything_like_a_credential(path):
    alike = (
        r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"
        r"|PRIVATE KEY-----"
        r"|(?i:secret_access_key|session_token|password|auth_token)['\"]?\s*[:=]\s*['\"]?\w"
        r"|(?<![\w/+=])[A-Za-z0-9/+]{40}(?![\w/+=])"
    )
    assert re.findall(alike, path.read_text()) == []


@pytest.mark.parametrize("name", ["rayjob-label.yaml", "rayjob-distill.yaml"])
def test_rayjob_is_one_attempt_that_cleans_up(name):
    spec = manifest(name)["spec"]
    assert spec["backoffLimit"] == 0, "attempts of a RayJob may overlap, and two label runs must not write one output"
    assert (
        spec["shutdownAfterJobFinishes"] and spec["ttlSecondsAfterFinished"] > 0 and spec["activeDeadlineSeconds"] > 0
    )


@pytest.mark.parametrize("name", ["rayjob-label.yaml", "rayjob-distill.yaml"])
def test_entrypoint_is_a_job_with_its_options(name):
    program, *words = manifest(name)["spec"]["entrypoint"].split()
    assert program == "emovox"
    assert problem_of(words) is None


def test_commands_of_the_guide_are_jobs_with_their_options():
    found = commands(GUIDE.read_text())
    assert {"index", "label", "distill", "evaluate"} <= {
        word for words in found if words[0] == "submit" for word in words
    }
    assert [problem for words in found if (problem := problem_of(words))] == []
    for name in ("rayjob-label.yaml", "rayjob-distill.yaml"):
        assert manifest(name)["spec"]["entrypoint"].split()[1:] in found, f"the guide shows the entrypoint of {name}"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("relabel --out x", "no job"),
        ("label --manifest m --out o --gpu-per-teacher 1", "no option"),
        ("label --out o", "not given"),
        ("distill --labels l --out o --recipe vggm", "not one of"),
        ("index stray --data d --out o", "takes no"),
        ("submit --detached index --data d --out o", "submit has no option"),
        ("submit --submission-id index-1 index --data d", "not given"),
        ("submit relabel", "no job"),
    ],
)
def test_a_command_that_would_not_run_is_noticed(line, problem):
    assert problem in problem_of(line.split())
    assert problem_of("index --data d --out o --layout voxceleb1 --voxceleb1.pictures-per-s 25".split()) is None


def option(words: list[str], name: str, default: str) -> float:
    return float(words[words.index(name) + 1] if name in words else default)


def stages_of(words: list[str], cpus: float) -> list[Stage]:
    """The stages that the job asks the cluster for (pipeline/labelling/run.py, pipeline/training/context.py)."""
    if words[0] == "distill":
        return [Stage(name="distill", workers=int(option(words, "--workers", "0")), gpus=float("--gpu" in words))]
    source = ast.parse((ROOT / "cluster" / "session.py").read_text())
    (reserve,) = [
        node.value.value
        for node in source.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "CLUSTER_RESERVE_CPUS"
    ]
    teachers, gpus = option(words, "--teacher-workers", "1"), option(words, "--gpus-per-teacher", "0")
    assert gpus, "without a GPU the teacher would have no processes of its own"
    croppers = option(words, "--crop-workers", str(cpus - reserve))
    return [Stage(name="crop", workers=int(croppers)), Stage(name="teacher", workers=int(teachers), gpus=gpus)]


@pytest.mark.parametrize("name", ["rayjob-label.yaml", "rayjob-distill.yaml"])
def test_the_job_fits_the_nodes_that_it_starts_with(name):
    workers = [group for group in groups(name) if "groupName" in group]
    nodes = [
        {"CPU": amount(group["rayStartParams"]["num-cpus"]), "GPU": amount(group["rayStartParams"].get("num-gpus", 0))}
        for group in workers
        for _ in range(group["minReplicas"])
    ]
    words = manifest(name)["spec"]["entrypoint"].split()[1:]
    require_room(stages_of(words, sum(node["CPU"] for node in nodes)), nodes)
    with pytest.raises(ValueError, match="GPU"):  # without its GPU nodes it would not
        require_room(stages_of(words, sum(node["CPU"] for node in nodes)), [node | {"GPU": 0} for node in nodes])
