"""The evaluation of a teacher against scikit-learn, scipy and cases counted by hand."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, log_loss, recall_score

from modeling.emotions import EMOTIONS
from modeling.evaluation.calibration import ReliabilityBin
from modeling.evaluation.ferplus_accuracy import Accuracy, evaluate_ferplus, most_confident_errors
from modeling.faces.ferplus import VOTE_COLUMNS, majority_rule, paper_rule


def votes(*rows: dict[str, int]) -> np.ndarray:
    return np.array([[row.get(column, 0) for column in VOTE_COLUMNS] for row in rows], np.uint8).reshape(-1, 10)


def unanimous(truth_N: np.ndarray) -> np.ndarray:
    return votes(*({EMOTIONS[k]: 10} for k in truth_N))


def saying(*emotions: str, probability: float = 0.9) -> np.ndarray:
    """Logits whose softmax gives the emotion the probability, and the others equal parts of the rest."""
    probabilities = np.full((len(emotions), 8), (1 - probability) / 7)
    probabilities[range(len(emotions)), [EMOTIONS.index(emotion) for emotion in emotions]] = probability
    return np.log(probabilities)


def shown(result: dict) -> dict:
    """rule -> right answers and rows."""
    return {rule: (round((entry.value or 0) * entry.n), entry.n) for rule, entry in result.accuracy.items()}


@pytest.mark.parametrize(
    ("row", "right_answers"),
    [
        ({"sadness": 9, "neutral": 1}, {"paper": "sadness", "majority": "sadness", "argmax8": "sadness"}),
        (
            {"anger": 5, "happiness": 5},
            {"paper": "happiness", "argmax8": "happiness"},
        ),  # a tie of two: the first counts
        ({"anger": 4, "neutral": 3, "fear": 3}, {"argmax8": "anger"}),  # 4 of 10 are no majority
        ({"unknown": 6, "fear": 3, "neutral": 1}, {"argmax8": "fear"}),  # votes beside the eight do not count
        ({"anger": 1, "happiness": 1, "not_face": 8}, {"argmax8": "happiness"}),  # single votes, raw
        ({"unknown": 4, "not_face": 6}, {}),
        # single votes are removed before the half is counted
        (
            {"contempt": 4, "neutral": 1, "happiness": 1, "surprise": 1, "sadness": 1, "anger": 1, "fear": 1},
            {"paper": "contempt", "majority": "contempt", "argmax8": "contempt"},
        ),
        ({"neutral": 2, "happiness": 2, "surprise": 2, "anger": 2, "fear": 1, "disgust": 1}, {"argmax8": "neutral"}),
    ],
)
def test_which_answer_counts_as_right_under_each_rule(row, right_answers):
    for emotion in EMOTIONS:
        expected = {
            rule: (int(right_answers[rule] == emotion), 1) if rule in right_answers else (0, 0)
            for rule in ("paper", "majority", "argmax8")
        }
        assert shown(evaluate_ferplus(saying(emotion), votes(row))) == expected, emotion


def noisy(n: int = 800, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are right about half of the time and votes as spread as FER+'s; no face shows disgust."""
    rng = np.random.default_rng(seed)
    shares = rng.dirichlet(np.where(np.arange(10) == 5, 1e-9, 0.12), n)
    logits = np.log(shares[:, :8] + 0.02) + rng.normal(0, 1.2, (n, 8))
    return logits, np.stack([rng.multinomial(10, share) for share in shares]).astype(np.uint8)


def test_figures_agree_with_scikit_learn():
    logits, votes_NV = noisy()
    result = evaluate_ferplus(logits, votes_NV)
    json.dumps(dataclasses.asdict(result), allow_nan=False)
    keep = majority_rule(votes_NV)
    truth, predicted = votes_NV[keep, :8].argmax(1), logits[keep].argmax(1)
    present = sorted(set(truth))
    assert 300 < keep.sum() < 800 and 5 not in present
    assert result.accuracy["majority"].value == pytest.approx(accuracy_score(truth, predicted))
    assert result.confusion == confusion_matrix(truth, predicted, labels=range(8)).tolist()
    recalls = recall_score(truth, predicted, labels=present, average=None)
    assert [result.recall[EMOTIONS[k]] for k in present] == pytest.approx(recalls.tolist())
    assert result.recall["disgust"] is None and result.support["disgust"] == 0
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        assert result.balanced_accuracy == pytest.approx(balanced_accuracy_score(truth, predicted))
    assert list(result.recall) == list(result.support) == list(EMOTIONS)


def test_intervals_are_wilsons():
    """81 of 263: the example of Newcombe 1998 (Statistics in Medicine 17, table I), 0.2553 to 0.3662."""
    truth = np.zeros(263, int)
    logits = saying(*["neutral"] * 81, *["fear"] * 182)
    entry = evaluate_ferplus(logits, unanimous(truth)).accuracy["majority"]
    assert (entry.low, entry.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert entry.low == pytest.approx(binomtest(81, 263).proportion_ci(method="wilson").low)


def test_calibration_error_by_hand():
    """Four faces of 0.9, three of them right: a gap of 0.15. Two of 0.5, both right: a gap of 0.5."""
    logits = np.concatenate(
        [saying("neutral", "neutral", "neutral", "anger"), saying("neutral", "neutral", probability=0.5)]
    )
    result = evaluate_ferplus(logits, unanimous(np.zeros(6, int)))
    assert result.ece == pytest.approx((4 * 0.15 + 2 * 0.5) / 6)
    bins = {round(entry.low, 3): entry for entry in result.reliability if entry.n}
    assert len(result.reliability) == 15 and set(bins) == {0.467, 0.867}
    expected = ReliabilityBin(low=13 / 15, high=14 / 15, n=4, confidence=0.9, accuracy=0.75)
    assert dataclasses.astuple(bins[0.867]) == pytest.approx(dataclasses.astuple(expected))


def test_a_certain_teacher_falls_into_the_last_bin():
    logits = np.zeros((3, 8))
    logits[:, 2] = 1000.0
    result = evaluate_ferplus(logits, unanimous(np.array([2, 2, 0])))
    assert result.reliability[-1].n == 3 and result.ece == pytest.approx(1 / 3)


def drawn_from(logits: np.ndarray, seed: int = 1) -> np.ndarray:
    """One answer for each face, drawn with the softmax of its logits, as ten votes."""
    rng = np.random.default_rng(seed)
    return unanimous(np.array([rng.choice(8, p=p) for p in softmax(logits, axis=1)]))


def test_a_calibrated_teacher_has_no_error_and_a_sharpened_one_is_brought_back():
    logits = np.random.default_rng(0).normal(0, 2, (6000, 8))
    votes_NV = drawn_from(logits)
    calibrated, sharpened = evaluate_ferplus(logits, votes_NV), evaluate_ferplus(3 * logits, votes_NV)
    assert calibrated.ece < 0.02 and calibrated.temperature == pytest.approx(1, abs=0.05)
    assert sharpened.ece > 0.15 and sharpened.temperature == pytest.approx(3, abs=0.15)
    assert sharpened.ece_at_temperature == pytest.approx(calibrated.ece_at_temperature, abs=2e-3)
    assert sharpened.accuracy == calibrated.accuracy


def test_cross_entropy_is_that_of_scikit_learn_and_no_temperature_does_better():
    logits, votes_NV = noisy()
    result = evaluate_ferplus(logits, votes_NV)
    keep = paper_rule(votes_NV)
    shares = np.where(votes_NV[keep, :8] > 1, votes_NV[keep, :8], 0).astype(float)
    shares /= shares.sum(1, keepdims=True)
    rows, truth = np.nonzero(shares)

    def by_scikit_learn(temperature: float) -> float:
        probabilities = softmax(logits[keep] / temperature, axis=1)
        weights = shares[rows, truth]
        return log_loss(truth, probabilities[rows], sample_weight=weights, labels=range(8))

    assert result.log_loss == pytest.approx(by_scikit_learn(1.0))
    least = by_scikit_learn(result.temperature)
    assert all(least <= by_scikit_learn(result.temperature * factor) for factor in (0.5, 0.97, 1.03, 2))


def test_an_emotion_that_the_teacher_does_not_know():
    """The faces of contempt count as mistakes; the votes for it do not spoil the fitted temperature."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 8))
    logits[:, 7] = -100.0
    votes_NV = drawn_from(logits)
    votes_NV[:400] = votes({"contempt": 7, "neutral": 3})
    result = evaluate_ferplus(logits, votes_NV, masked=("contempt",))
    assert result.masked == ("contempt",)
    assert result.recall["contempt"] == 0 and result.support["contempt"] == 400
    assert result.log_loss < 3
    known = evaluate_ferplus(logits[400:], votes_NV[400:], masked=("contempt",))
    assert known.temperature == pytest.approx(1, abs=0.05) and known.ece < 0.025
    assert result.accuracy["majority"].value == pytest.approx(known.accuracy["majority"].value * 0.9)
    hot = evaluate_ferplus(logits / 30, votes_NV, masked=("contempt",))  # -100 / 30 would no longer be out of reach
    assert hot.log_loss < 3 and all(row[7] == 0 for row in hot.confusion)
    with pytest.raises(ValueError, match="'boredom'.*not known"):
        evaluate_ferplus(logits, votes_NV, masked=("boredom",))


def test_no_row_under_a_rule_is_no_crash():
    for votes_NV in (votes({"unknown": 10}), votes()):
        result = evaluate_ferplus(np.zeros((len(votes_NV), 8)), votes_NV)
        json.dumps(dataclasses.asdict(result), allow_nan=False)
        assert result.accuracy == dict.fromkeys(("paper", "majority", "argmax8"), Accuracy(None, None, None, n=0))
        assert set(result.recall.values()) == {None} and set(result.support.values()) == {0}
        names = ("balanced_accuracy", "ece", "log_loss", "temperature", "ece_at_temperature")
        assert {getattr(result, name) for name in names} == {None}


def test_logits_that_are_not_finite_are_counted_and_named():
    logits, votes_NV = noisy(50)
    logits[[3, 7]] = np.nan
    logits[9, 2] = np.inf
    with pytest.raises(ValueError, match=r"3 of 50 rows are not finite \(rows \[3, 7, 9\]\)"):
        evaluate_ferplus(logits, votes_NV)


@pytest.mark.parametrize(("faces", "columns"), [(49, 8), (50, 7)])
def test_wrong_shapes_are_named(faces, columns):
    logits, votes_NV = noisy(50)
    with pytest.raises(ValueError, match=rf"logits \({faces}, {columns}\), votes \(50, 10\)"):
        evaluate_ferplus(logits[:faces, :columns], votes_NV)


def test_the_arguments_are_left_as_they_were():
    logits, votes_NV = noisy(50)
    before = logits.copy()
    evaluate_ferplus(logits, votes_NV, masked=("fear",))
    assert np.array_equal(logits, before)


def test_counts_of_the_validation_split(data_dir):
    """3,318 and 3,199 rows: the cleanings' published counts, less the rows whose picture was removed."""
    import pyarrow.parquet as pq

    table = pq.read_table(data_dir / "ferplus" / "valid.parquet", columns=list(VOTE_COLUMNS))
    votes_NV = np.stack([table[column].to_numpy() for column in VOTE_COLUMNS], axis=1)
    result = evaluate_ferplus(votes_NV[:, :8].astype(float), votes_NV)
    assert {rule: entry.n for rule, entry in result.accuracy.items()} == {
        "paper": 3318,
        "majority": 3199,
        "argmax8": int((votes_NV[:, :8].sum(1) > 0).sum()),
    }
    assert [entry.value for entry in result.accuracy.values()] == [1, 1, 1]  # the votes themselves are right


def test_the_most_confident_errors_come_first():
    logits = np.concatenate([saying("fear", probability=p) for p in (0.5, 0.9, 0.7, 0.99)])
    votes_NV = votes({"anger": 9}, {"anger": 9}, {"fear": 9}, {"anger": 5, "sadness": 5})
    assert most_confident_errors(logits, votes_NV, 5) == [1, 0]  # row 2 is right, row 3 has no majority
    assert most_confident_errors(logits, votes_NV, 1) == [1]
    assert most_confident_errors(logits[2:], votes_NV[2:], 5) == []
