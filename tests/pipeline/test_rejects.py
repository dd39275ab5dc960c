"""Every reason for which an utterance or clip is set aside is explained to those who read a set."""

import re
from pathlib import Path

from pipeline.rejects import EXPLANATIONS, RejectReason

DOCS = Path(__file__).parents[2] / "docs"
TABLE_ROWS = re.findall(r"^\| (`.*?) \|", "".join(page.read_text() for page in DOCS.glob("*.md")), re.MULTILINE)


def test_every_reason_has_an_explanation_and_a_row_in_the_docs():
    documented = {name for row in TABLE_ROWS for name in re.findall("`(.*?)`", row)}
    assert set(EXPLANATIONS) == set(RejectReason)
    assert not set(RejectReason) - documented
