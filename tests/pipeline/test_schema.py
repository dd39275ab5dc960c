"""Every column is explained to those who read a set."""

import re
from pathlib import Path

from pipeline.schema import DISTILLATION_SCHEMA, MANIFEST_SCHEMA

DOCS = Path(__file__).parents[2] / "docs"


def test_every_column_of_the_distillation_set_is_in_its_page():
    columns = set(re.findall("`([a-z0-9_]+)`", (DOCS / "distillation_set.md").read_text()))
    assert not set(DISTILLATION_SCHEMA.names) - columns


def test_every_column_of_the_manifest_is_in_its_page():
    columns = set(re.findall("`([a-z0-9_]+)`", (DOCS / "layouts.md").read_text()))
    assert not set(MANIFEST_SCHEMA.names) - columns
