"""Which package may import which. A package is a folder of Python files; two folders deep at most.

cluster and modeling import nothing of ours, pipeline may import both, jobs may import all. Within modeling and pipeline
the table below says which packages a package may import; every package may import the files that stand in its folder's root.
"""

import ast
from pathlib import Path

import pytest

from tests.support.packages import FOLDERS, PACKAGES

ROOT = Path(__file__).parents[1]


def modules() -> list[Path]:
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def imports(path: Path) -> list[str]:
    """Dotted names of all that a file imports, inside functions too; `from a.b import c` is a.b.c."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import; write the whole name"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


def package_of(folder: str, bits: list[str]) -> str | None:
    """The package that a dotted name or a path, split, leads into; None for what stands in the folder's root."""
    return bits[1] if len(bits) > 1 and (ROOT / folder / bits[1]).is_dir() else None


def offences(path: Path) -> list[str]:
    where = path.relative_to(ROOT)
    folder, own = where.parts[0], package_of(where.parts[0], list(where.parts))
    found = []
    for name in imports(path):
        bits = name.split(".")
        if bits[0] not in FOLDERS:
            continue
        if bits[0] not in FOLDERS[folder]:
            found.append(f"{where} imports {name}: {folder} may not import {bits[0]}")
        elif bits[0] == folder and folder in PACKAGES:
            package = package_of(folder, bits)
            if package and package != own and (own is None or package not in PACKAGES[folder].get(own, ())):
                found.append(f"{where} imports {name}: {own or 'the root'} may not import {package}")
    return found


def test_imports_go_the_way_of_the_table():
    violations = [offence for path in modules() for offence in offences(path)]
    assert not violations, "\n" + "\n".join(violations)


def test_every_file_stands_in_a_package():
    strays = []
    for path in modules():
        folder, *inside, _ = path.relative_to(ROOT).parts
        if len(inside) > 1 or (inside and inside[0] not in PACKAGES.get(folder, ())):
            strays.append(str(path.relative_to(ROOT)))
    assert not strays, f"in no package of the table: {strays}"
    packages = {(folder, package) for folder, table in PACKAGES.items() for package in table}
    missing = [
        f"{folder}/{package}" for folder, package in packages if not (ROOT / folder / package / "__init__.py").exists()
    ]
    assert not missing, f"the table names packages that are not there: {missing}"


@pytest.mark.parametrize("folder", PACKAGES)
def test_table_has_no_cycle(folder):
    left = {package: set(allowed) for package, allowed in PACKAGES[folder].items()}
    while left:
        free = {package for package, allowed in left.items() if not allowed & left.keys()}
        assert free, f"a cycle among {sorted(left)}"
        left = {package: allowed for package, allowed in left.items() if package not in free}


@pytest.mark.parametrize("folder", PACKAGES)
def test_table_allows_nothing_that_is_not_used(folder):
    used = {package: set() for package in PACKAGES[folder]}
    for path in modules():
        where = list(path.relative_to(ROOT).parts)
        own = package_of(folder, where) if where[0] == folder else None
        if own:
            used[own] |= {package_of(folder, name.split(".")) for name in imports(path) if name.split(".")[0] == folder}
    unused = {
        package: sorted(PACKAGES[folder][package] - used[package])
        for package in used
        if PACKAGES[folder][package] - used[package]
    }
    assert not unused, f"take these out of the table: {unused}"


def test_packages_load_nothing_when_they_are_imported():
    """The decoder's child loads what it needs and no more. Commands begin in `jobs`, which sees to it that the rest is ours."""
    inits = [path for path in modules() if path.name == "__init__.py" and path.parent.name != "jobs"]
    busy = [f"{path.relative_to(ROOT)} imports {name}" for path in inits for name in imports(path) if name != "os"]
    assert not busy


def test_modeling_trains_without_ray():
    files = (ROOT / "modeling").rglob("*.py")
    users = [str(path.relative_to(ROOT)) for path in files if any(n.split(".")[0] == "ray" for n in imports(path))]
    assert not users


def test_ray_is_started_in_one_place():
    starters = [str(path.relative_to(ROOT)) for path in modules() if "ray.init(" in path.read_text()]
    assert starters == ["cluster/session.py"]
