"""Every reason for which an utterance or clip is set aside is explained to those who read a set."""

import re
from pathlib import Path

import pytest

from cluster.failures import StorageUnavailable, UserError
from pipeline.rejects import EXPLANATIONS, Rejected, RejectReason, blaming, count_unforeseen, suspicion

DAMAGED = RejectReason.DAMAGED_AUDIO
DOCS = Path(__file__).parents[2] / "docs"
TABLE_ROWS = re.findall(r"^\| (`.*?) \|", "".join(page.read_text() for page in DOCS.glob("*.md")), re.MULTILINE)


def test_every_reason_has_an_explanation_and_a_row_in_the_docs():
    documented = {name for row in TABLE_ROWS for name in re.findall("`(.*?)`", row)}
    assert set(EXPLANATIONS) == set(RejectReason)
    assert not set(RejectReason) - documented


def test_an_error_that_nobody_foresaw_is_blamed_on_the_file_and_keeps_its_traceback():
    with pytest.raises(Rejected, match="damaged_audio: unforeseen KeyError: 'x'") as rejected, blaming(DAMAGED):
        {}["x"]
    assert '{}["x"]' in rejected.value.trace
    assert count_unforeseen([rejected.value.detail, None, "every frame in the span is damaged"]) == 1


@pytest.mark.parametrize(
    "error", [Rejected(RejectReason.SILENT, "x"), UserError("x"), StorageUnavailable("x"), MemoryError()]
)
def test_what_says_nothing_about_the_file_is_not_blamed_on_it(error):
    with pytest.raises(type(error)) as raised, blaming(DAMAGED):
        raise error
    assert raised.value is error


def test_many_such_errors_are_said_to_be_ours():
    assert suspicion(0, 10) is None
    assert "probably not the files" not in suspicion(3, 1000)
    assert "probably not the files" in suspicion(60, 1000)
