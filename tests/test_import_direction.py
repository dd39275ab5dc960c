"""The law of the tree: cluster and modeling import nothing of ours, pipeline may import both, jobs may import all."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "cluster": {"cluster"},
    "modeling": {"modeling"},
    "pipeline": {"pipeline", "cluster", "modeling"},
    "jobs": {"jobs", "pipeline", "cluster", "modeling"},
}


def imported_packages(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules.add(node.module)
    return {module.split(".")[0] for module in modules}


def test_folders_import_in_one_direction_only():
    violations = [
        f"{path.relative_to(ROOT)} imports {package}"
        for folder, allowed in MAY_IMPORT.items()
        for path in (ROOT / folder).rglob("*.py")
        for package in imported_packages(path) & MAY_IMPORT.keys() - allowed
    ]
    assert not violations, "\n".join(violations)


def test_modeling_trains_without_ray():
    violations = [path.name for path in (ROOT / "modeling").rglob("*.py") if "ray" in imported_packages(path)]
    assert not violations


def test_ray_is_started_in_one_place():
    starters = [
        str(path.relative_to(ROOT))
        for folder in MAY_IMPORT
        for path in (ROOT / folder).rglob("*.py")
        if "ray.init(" in path.read_text()
    ]
    assert starters == ["cluster/session.py"]
