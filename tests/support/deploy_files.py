"""What the tests read of `cluster/deploy/`: the manifests, and the `emovox` commands of manifests and guide.

The jobs' options are read from their source with `ast`, so that no test here imports torch or Ray.
"""

import ast
import re
import shlex
from dataclasses import dataclass, field
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


@dataclass
class Options:
    """Options of a job: name -> the values it may have (None: any), those it needs, and whether it takes bare words."""

    values: dict[str, set[str] | None] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    required: set[str] = field(default_factory=set)
    positional: bool = False


def jobs() -> set[str]:
    for node in ast.parse((ROOT / "jobs" / "__main__.py").read_text()).body:
        if isinstance(node, ast.Assign) and node.targets[0].id == "JOBS":
            return set(ast.literal_eval(node.value))
    raise AssertionError("jobs/__main__.py has no JOBS")


def job_options(job: str) -> Options:
    """Options of the class that the job's module gives to `run_job`."""
    tree = ast.parse((ROOT / "jobs" / f"{job.replace('-', '_')}.py").read_text())
    calls = [
        node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "run_job"
    ]
    options = Options()
    _add_fields(options, _class(tree, calls[0].args[0].id), tree, "")
    return options


def _class(tree: ast.Module, name: str) -> ast.ClassDef:
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)


def _imported_from(tree: ast.Module, name: str) -> Path | None:
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and name in {alias.name for alias in node.names}:
            path = ROOT / f"{node.module.replace('.', '/')}.py"
            return path if path.exists() else None
    return None


def _add_fields(options: Options, class_node: ast.ClassDef, tree: ast.Module, prefix: str) -> None:
    for base in class_node.bases:
        if isinstance(base, ast.Name) and (source := _imported_from(tree, base.id)):
            other = ast.parse(source.read_text())
            _add_fields(options, _class(other, base.id), other, prefix)
    for node in class_node.body:
        if not isinstance(node, ast.AnnAssign):
            continue
        kind, name = ast.unparse(node.annotation), prefix + node.target.id.replace("_", "-")
        if kind.endswith("Options") and (source := _imported_from(tree, kind)):
            other = ast.parse(source.read_text())
            _add_fields(options, _class(other, kind), other, f"{name}.")
        elif "Positional" in kind:
            options.positional = True
        elif kind == "bool":
            options.flags |= {name, f"no-{name}"}
        else:
            options.values[name] = _literals(node.annotation)
            options.required |= {name} if node.value is None else set()


def _literals(annotation: ast.expr) -> set[str] | None:
    """The words of a `Literal["a", "b"]`, with or without `| None`; None where any value may stand."""
    for node in ast.walk(annotation):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
            words = [element for element in ast.walk(node.slice) if isinstance(element, ast.Constant)]
            return {word.value for word in words if isinstance(word.value, str)} or None
    return None


def commands(text: str) -> list[list[str]]:
    """The words after `emovox` of every command in the fenced blocks of a Markdown text."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, flags=re.M | re.S)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    found = (re.search(r"(?:^|\s)emovox (?=[a-z])(.*)", line) for line in lines)
    return [shlex.split(match.group(1), comments=True) for match in found if match]


def problem_of(words: list[str]) -> str | None:
    """What is wrong with a command (job first), or None."""
    job, *rest = words
    if job == "submit":
        return _submit_problem(rest)
    if job not in jobs():
        return f"there is no job {job!r}"
    options, given, last = job_options(job), set(), None
    for word in rest:
        if word.startswith("--"):
            last = word[2:]
            if last not in options.values and last not in options.flags:
                return f"{job} has no option {word}"
            given.add(last)
        elif last is None or last in options.flags:
            if not options.positional:
                return f"{job} takes no {word!r} here"
        elif (allowed := options.values[last]) and word not in allowed:
            return f"{job} --{last} is {word!r}, not one of {sorted(allowed)}"
    missing = options.required - given
    return f"{job} is not given {sorted(missing)}" if missing else None


def _submit_problem(words: list[str]) -> str | None:
    """The options of submit stand before the job; `--attach`, `--cancel` and `--list` take none."""
    options, tree = Options(), ast.parse((ROOT / "jobs" / "submit.py").read_text())
    _add_fields(options, _class(tree, "Submit"), tree, "")
    while words and words[0].startswith("--"):
        name = words[0][2:]
        if name not in options.values and name not in options.flags:
            return f"submit has no option {words[0]}"
        words = words[1 if name in options.flags else 2 :]
    return problem_of(words) if words else None
