"""The tests' own order: folders mirror the packages, and what several test modules need stands in tests/support."""

import ast
from pathlib import Path

TESTS = Path(__file__).parent
OF_THEIR_OWN = {"faults", "support", "golden"}
"""faults: whole runs that are broken from outside, whatever package they go through. The others hold no tests."""


def test_no_module_imports_a_test_module():
    found = []
    for path in sorted(TESTS.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            found += [f"{path.relative_to(TESTS)}: {name}" for name in names if ".test_" in name or ".conftest" in name]
    assert not found, f"move what is imported to tests/support: {found}"


def test_folders_mirror_the_packages():
    folders = {path.parent.relative_to(TESTS) for path in TESTS.rglob("*.py")} - {Path(".")}
    strays = [str(folder) for folder in folders if folder.parts[0] not in OF_THEIR_OWN]
    strays = [folder for folder in strays if not (TESTS.parent / folder / "__init__.py").exists()]
    assert not strays, f"no package of that name is tested here: {strays}"


def test_support_and_faults_hold_what_they_are_for():
    assert not list((TESTS / "support").rglob("test_*.py"))
    assert all(path.name.startswith(("test_", "__init__")) for path in (TESTS / "faults").glob("*.py"))
