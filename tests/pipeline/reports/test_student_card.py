from dataclasses import asdict

from modeling.distillation.recipes import compact
from modeling.emotions import EMOTIONS
from pipeline.reports.student_card import student_card

CURVE = [
    {"epoch": epoch, "step": 10 * epoch, "loss": 2.0 - 0.1 * epoch, "val_mean_auc": auc}
    for epoch, auc in ((1, 0.512), (2, None), (3, 0.701), (4, 0.643))
]
RUN = {
    "job": "distill",
    "started": "2026-11-23T00:00:00+00:00",
    "seconds": 64.7,
    "configuration": {"labels": "s3://bucket/labels"},
    "inputs": {"labels": {"teacher": "compact:ab12"}, "recipe": asdict(compact())},
    "counts": {
        "utterances": 1200,
        "val_utterances": 77,
        "curve": CURVE,
        "prior": [0.65, 0.2, 0.05, 0.04, 0.03, 0.01, 0.01, 0.01],
        "prior_strength": 0.85,
    },
}
NOT_ESTIMABLE = {"value": None, "low": None, "high": None, "positives": 3}
EVALUATION = {
    "split": "held-out",
    "utterances": 300,
    "speakers": 12,
    "resampled": "speakers",
    "auc": {"neutral": {"value": 0.7312, "low": 0.68, "high": 0.78, "positives": 150}, "fear": NOT_ESTIMABLE},
    "mean_auc": 0.7312,
    "mean_auc_low": 0.68,
    "mean_auc_high": 0.78,
    "mean_auc_emotions": ["neutral"],
}


def test_a_card_says_on_what_a_student_was_trained_and_how_it_went():
    card = student_card(RUN)
    for fact in ("s3://bucket/labels", "1200", "compact:ab12", "speakers trained on: not recorded", "| temperature |"):
        assert fact in card
    assert "1.9000 in the first epoch to 1.6000" in card and "0.701 (epoch 3) and 0.643 at the end" in card
    assert "student_best.safetensors" in card and "Not evaluated yet" in card
    assert "| neutral | 65.0 % |" in card and "prior^0.85" in card


def test_a_card_has_the_table_of_the_evaluation_with_positives():
    for evaluation in (EVALUATION, {"students": {"a": EVALUATION}, "differences": {}}):
        card = student_card(RUN, evaluation)
        assert "| neutral | 0.731 | 0.680 to 0.780 | 150 |" in card and "| fear | not estimable |  | 3 |" in card
        assert "Not evaluated yet" not in card


def test_a_card_of_a_set_without_held_out_utterances_says_so():
    curve = [row | {"val_mean_auc": None} for row in CURVE]
    card = student_card(RUN | {"counts": {"curve": curve}})
    assert "No held-out mean AUC was measured" in card and "## Prior" not in card
    assert all(emotion in student_card(RUN) for emotion in EMOTIONS)


def cell(value: float) -> dict:
    return {"value": value, "low": value - 0.05, "high": value + 0.05}


def test_a_card_shows_what_a_student_is_worth_against_true_emotions_and_where_it_guesses():
    scores = {"mean_auc": cell(0.7), "auc": {"anger": cell(0.82), "surprise": cell(0.53), "fear": NOT_ESTIMABLE}}
    exam = {
        "corpus": "ravdess",
        "n": 624,
        "speakers": 24,
        "positives": {"anger": 96, "surprise": 96, "fear": 3},
        "variants": dict.fromkeys(("raw", "logits", "corrected", "speaker_centred"), scores),
    }
    card = student_card(RUN, exams=[exam])
    assert "| ravdess | 624 | 24 | 0.700 (0.65 to 0.75) |" in card and "Not evaluated yet" not in card
    assert "| anger | 96 | 0.820 (0.77 to 0.87) |" in card and "| fear | 3 | not estimable |" in card
    assert "On ravdess it is best at anger; its answers for surprise are no better than guessing." in card
