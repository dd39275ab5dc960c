import json

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from modeling.students.head import EmotionHead, fit_head, load_head

RNG = np.random.default_rng(0)


def clips(classes: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.array([f"class {n % classes}" for n in range(90)])
    means = RNG.normal(size=(classes, 6))
    return means[[int(label[-1]) for label in labels]] * [1, 10, 0.1, 1, 1, 0] + RNG.normal(size=(90, 6)), labels


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_a_head_answers_as_scikit_learn_does_and_comes_back_from_its_file(classes):
    embeddings, labels = clips(classes)
    reference = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000)).fit(embeddings, labels)
    head = load_head(
        fit_head(embeddings, labels, inverse_penalty=0.1, student_sha256="ab" * 32, meta={"n": 90}).to_json()
    )
    assert head.classes == tuple(reference.classes_) and head.student_sha256 == "ab" * 32 and head.meta == {"n": 90}
    np.testing.assert_allclose(head.probabilities(embeddings), reference.predict_proba(embeddings), atol=1e-9)
    np.testing.assert_allclose(
        head.probabilities(embeddings[3]), reference.predict_proba(embeddings[3:4])[0], atol=1e-9
    )


def test_what_is_no_head_is_named_with_the_next_step():
    embeddings, labels = clips(2)
    good = json.loads(fit_head(embeddings, labels, inverse_penalty=1.0, student_sha256="x", meta={}).to_json())
    damaged = [
        b"",
        b"\x80\x04pickle",
        b"[]",
        json.dumps(good | {"format": "other"}).encode(),
        json.dumps(good | {"bias_K": [1.0]}).encode(),
        json.dumps({name: value for name, value in good.items() if name != "classes"}).encode(),
        json.dumps(good).replace(str(good["bias_K"][0]), "NaN").encode(),
    ]
    for content in damaged:
        with pytest.raises(ValueError, match="fit it again"):
            load_head(content)


def test_embeddings_of_another_length_are_named():
    head = EmotionHead(("a", "b"), np.zeros(3), np.ones(3), np.zeros((2, 3)), np.zeros(2), "x")
    with pytest.raises(ValueError, match="4 values; this head takes 3"):
        head.probabilities(np.zeros((1, 4)))
