"""The two cleanings of FER+ against published counts."""

import numpy as np
import pytest

from modeling.emotions import EMOTIONS
from modeling.faces.ferplus import VOTE_COLUMNS, class_counts, majority_rule, paper_rule, vote_distributions
from pipeline.teachers.ferplus_files import read_faces


def votes(**counts: int) -> np.ndarray:
    return np.array([[counts.get(column, 0) for column in VOTE_COLUMNS]], np.uint8)


@pytest.mark.parametrize(
    ("counts", "paper", "majority"),
    [
        ({"happiness": 10}, True, True),
        ({"happiness": 5, "neutral": 5}, True, False),  # a tie of two holds more than half together
        ({"happiness": 4, "neutral": 3, "sadness": 3}, False, False),  # 4 of 10 is no more than half
        ({"happiness": 3, "neutral": 3, "sadness": 3, "anger": 1}, False, False),  # a tie of three
        ({"unknown": 6, "neutral": 4}, False, False),
        ({"not_face": 5, "neutral": 5}, False, False),
        (
            {"happiness": 5, "neutral": 1, "sadness": 1, "anger": 1, "fear": 1, "disgust": 1},
            True,
            True,
        ),  # ones are noise
        ({"happiness": 1, "neutral": 1}, False, False),
    ],
)
def test_the_rules_on_single_rows(counts, paper, majority):
    assert paper_rule(votes(**counts))[0] == paper
    assert majority_rule(votes(**counts))[0] == majority


@pytest.mark.parametrize(
    ("split", "rows", "paper", "majority", "removed", "classes"),
    [
        ("train", 28558, 26193, 25057, 3, [9500, 7378, 3303, 3095, 2146, 123, 532, 119]),
        ("valid", 3579, 3318, 3199, 0, [1256, 880, 427, 360, 293, 27, 62, 13]),
    ],
)
def test_published_counts(data_dir, split, rows, paper, majority, removed, classes):
    """Counts of the authors' cleaning, by class, and of FER+'s majority mode; `removed` pictures that the cleaning keeps
    are not in the data, so their classes have one face less."""
    faces = read_faces(data_dir / "ferplus", split)
    assert len(faces) == rows
    assert paper_rule(faces.votes_NV).sum() == paper and majority_rule(faces.votes_NV).sum() == majority
    found = class_counts(faces, paper_rule(faces.votes_NV))
    missing = [published - found[emotion] for emotion, published in zip(EMOTIONS, classes, strict=True)]
    assert min(missing) >= 0 and sum(missing) == removed


def test_distributions_leave_out_unknown_and_sum_to_one():
    assert vote_distributions(votes(happiness=6, neutral=2, unknown=2)).tolist() == [[0.25, 0.75, 0, 0, 0, 0, 0, 0]]
    with pytest.raises(ValueError, match=r"rows \[0\] have no vote"):
        vote_distributions(votes(unknown=10))
