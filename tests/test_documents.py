"""Documents that tell the tree: their tables are those that the code gives."""

import ast
import re
from pathlib import Path

import pytest

from tests.support.packages import PACKAGES

ROOT = Path(__file__).parents[1]
MARK = "<!-- packages -->"


def purpose(folder: str, package: str) -> str:
    """The first line of a package's `__init__.py`."""
    return ast.get_docstring(ast.parse((ROOT / folder / package / "__init__.py").read_text()))


def table(with_imports: bool) -> str:
    """The packages in the order of the table of imports, as Markdown."""
    lines = (
        ["| package | what | imports |", "| --- | --- | --- |"]
        if with_imports
        else ["| package | what |", "| --- | --- |"]
    )
    for folder, packages in PACKAGES.items():
        for package, allowed in packages.items():
            cells = [f"`{folder}/{package}`", purpose(folder, package).rstrip(".")]
            if with_imports:
                cells.append(", ".join(sorted(allowed)) or "-")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


@pytest.mark.parametrize(("document", "with_imports"), [("README.md", False), ("docs/architecture.md", True)])
def test_document_shows_the_packages_as_they_are(document, with_imports):
    text = (ROOT / document).read_text()
    assert table(with_imports) in text, f"replace the table in {document} by this one:\n{MARK}\n{table(with_imports)}"


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md", "docs/architecture.md"])
def test_paths_in_documents_exist(document):
    text = (ROOT / document).read_text()
    named = {word for word in text.split("`")[1::2] if "/" in word and " " not in word and "*" not in word}
    ours = [
        name for name in named if name.split("/")[0] in ("cluster", "modeling", "pipeline", "jobs", "tests", "docs")
    ]
    missing = [name for name in ours if not (ROOT / name).exists()]
    assert ours and not missing


def test_names_in_the_architecture_are_in_their_files():
    text = (ROOT / "docs/architecture.md").read_text()
    named = re.findall(r"`([a-z_/0-9]+\.py)`:\s((?:`[\w.]+`(?:,\s+)?)+)", text)
    missing = [
        f"{path} has no {name}"
        for path, names in named
        for name in re.findall(r"\w+", names)
        if not re.search(rf"\b{name}\b", (ROOT / path).read_text())
    ]
    assert len(named) > 25 and not missing
