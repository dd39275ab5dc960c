"""One name in several byte strings."""

import unicodedata

import pytest

from pipeline.names import likeness, one_form

ACCENTED = "fâché"


@pytest.mark.parametrize(
    "written",
    [
        unicodedata.normalize("NFD", ACCENTED),
        f" {ACCENTED}\u00a0",
        f"\ufeff{ACCENTED}",
        f"{ACCENTED}\u200b",
        "fâ\u00adché",
    ],
)
def test_a_name_has_one_form(written):
    assert written != ACCENTED and one_form(written) == ACCENTED


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Angry", "angry"),
        ("“angry”", "angry"),
        ("'angry'", "angry"),
        ("\uff41ngry", "angry"),
        ("very  angry", "Very angry"),
        ("STRASSE", "straße"),
        ("an\u200dgry", "angry"),
        ("FÂCHÉ", unicodedata.normalize("NFD", ACCENTED)),
    ],
)
def test_names_that_a_person_reads_as_one_are_alike(one, other):
    assert likeness(one) == likeness(other)


@pytest.mark.parametrize(("one", "other"), [("angry", "hungry"), ("fâché", "fache"), ("s1", "s2"), ("s 1", "s1")])
def test_other_names_are_not(one, other):
    assert likeness(one) != likeness(other)
