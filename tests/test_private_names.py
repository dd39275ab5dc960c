"""Names that a library keeps for itself are used in one file each, which says for which version they hold."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray
import torchaudio

ROOT = Path(__file__).parents[1]
RAY_FILE = ROOT / "cluster/ray_internals.py"
TORCHAUDIO_FILE = ROOT / "modeling/speech/ssl_front_end.py"
RAY_METHODS = {"_do_request", "_data_context"}
BUNDLE_FIELDS = {"_params", "_path", "_normalize_waveform", "_model_type"}


def sources() -> list[Path]:
    folders = ("cluster", "modeling", "pipeline", "jobs", "tests")
    return [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")) if path != Path(__file__)]


def is_private(dotted: str) -> bool:
    return any(re.match(r"_[a-zA-Z]", word) for word in dotted.split("."))


def dotted_name(node: ast.expr) -> str:
    """`ray.data._internal` of an attribute's syntax tree; "" where no plain name stands in front."""
    if isinstance(node, ast.Attribute):
        before = dotted_name(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""


def names_of_libraries(tree: ast.Module) -> dict[str, str]:
    """Name in the file -> what it stands for, of all imports from ray and torchaudio."""
    bound = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            bound |= {(alias.asname or alias.name.split(".")[0]): alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            bound |= {(alias.asname or alias.name): f"{node.module}.{alias.name}" for alias in node.names}
    return {name: full for name, full in bound.items() if full.split(".")[0] in ("ray", "torchaudio")}


def private_uses(path: Path, library: str, attributes: set[str]) -> Iterator[str]:
    """Private names of `library` that a file imports, reads or names in a string, and uses of `attributes` on anything
    that is not the file's own object."""
    tree = ast.parse(path.read_text())
    bound = names_of_libraries(tree)
    for full in bound.values():
        if full.split(".")[0] == library and is_private(full):
            yield full
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            first, _, rest = dotted_name(node).partition(".")
            if first in bound and bound[first].split(".")[0] == library and is_private(rest):
                yield dotted_name(node)
            if node.attr in attributes and not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")):
                yield f"...{node.attr}"
        elif isinstance(node, ast.FunctionDef) and node.name in attributes:
            yield f"def {node.name}"
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and re.fullmatch(rf"{library}(\.\w+)*\._[a-z]\w*(\.\w+)*", node.value)
        ):
            yield repr(node.value)


@pytest.mark.parametrize(
    ("library", "home", "attributes"),
    [("ray", RAY_FILE, RAY_METHODS), ("torchaudio", TORCHAUDIO_FILE, BUNDLE_FIELDS)],
)
def test_private_names_of_a_library_stand_in_its_own_file(library, home, attributes):
    found = [
        f"{path.relative_to(ROOT)} uses {use}; put it into {home.relative_to(ROOT)}"
        for path in sources()
        if path != home
        for use in private_uses(path, library, attributes)
    ]
    assert not found, "\n" + "\n".join(found)
    assert list(private_uses(home, library, attributes)), f"{home.name} uses none: the search is broken"


@pytest.mark.parametrize(("library", "home"), [(ray, RAY_FILE), (torchaudio, TORCHAUDIO_FILE)])
def test_the_file_names_the_version_that_is_installed(library, home):
    """After an upgrade: look at each of its entries, then correct the version."""
    named = re.search(rf"{library.__name__} (\d+\.\d+)", home.read_text(), re.IGNORECASE)
    assert named and library.__version__.startswith(named[1] + ".")
