"""The two cleanings of FER+ against published counts, and a reader that names what is wrong."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from modeling.emotions import EMOTIONS
from modeling.ferplus import VOTE_COLUMNS, majority_rule, paper_rule, read_parquet, vote_distributions


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
    ("split", "rows", "paper", "majority"), [("train", 28558, 26193, 25057), ("valid", 3579, 3318, 3199)]
)
def test_published_counts(data_dir, split, rows, paper, majority):
    """Counts of the authors' cleaning and of FER+'s majority mode, less the rows whose picture was removed."""
    faces = read_parquet(data_dir / "ferplus" / f"{split}.parquet")
    assert len(faces) == rows
    assert paper_rule(faces.votes_NV).sum() == paper and majority_rule(faces.votes_NV).sum() == majority


def test_class_counts_of_the_validation_split(data_dir):
    faces = read_parquet(data_dir / "ferplus" / "valid.parquet")
    kept = faces.subset(paper_rule(faces.votes_NV))
    dominant = vote_distributions(kept.votes_NV).argmax(1)
    counts = dict(zip(EMOTIONS, np.bincount(dominant, minlength=8).tolist(), strict=True))
    assert counts == dict(zip(EMOTIONS, [1256, 880, 427, 360, 293, 27, 62, 13], strict=True))


def test_distributions_leave_out_unknown_and_sum_to_one():
    assert vote_distributions(votes(happiness=6, neutral=2, unknown=2)).tolist() == [[0.25, 0.75, 0, 0, 0, 0, 0, 0]]
    with pytest.raises(ValueError, match=r"rows \[0\] have no vote"):
        vote_distributions(votes(unknown=10))


def test_missing_columns_and_broken_pictures_are_named(tmp_path):
    columns = {column: pa.array([1], pa.uint8()) for column in VOTE_COLUMNS}
    pq.write_table(pa.table({"png": [b"x"]}), tmp_path / "votes_missing.parquet")
    with pytest.raises(ValueError, match="votes_missing.parquet: columns .*'neutral'.* are missing"):
        read_parquet(tmp_path / "votes_missing.parquet")
    pq.write_table(pa.table({"png": [b"not a picture"], **columns}), tmp_path / "broken.parquet")
    with pytest.raises(ValueError, match="the image of row 0"):
        read_parquet(tmp_path / "broken.parquet")
