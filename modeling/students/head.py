"""A linear head for the user's own classes on a frozen student's embedding, in a plain JSON file.

`fit_head` fits it with scikit-learn; applying it needs only NumPy. Shape letters: N clips, D embedding, K classes.
"""

import json
import warnings
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import softmax

FORMAT = "emovox.head.1"
MAX_ITERATIONS = 2000
_REMEDY = "give the file that `emovox fit-head` wrote, or fit it again"


@dataclass(frozen=True)
class EmotionHead:
    """classes: K names; mean_D, scale_D: standardise an embedding; weights_KD, bias_K: standardised embedding -> logits.

    student_sha256: of the student file that gave the embeddings; the head is meaningless for another student's.
    meta: facts about the fit (clips, speakers, cross-validation), anything that JSON can hold.
    """

    classes: tuple[str, ...]
    mean_D: np.ndarray
    scale_D: np.ndarray
    weights_KD: np.ndarray
    bias_K: np.ndarray
    student_sha256: str
    meta: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self):
        classes, dimensions = len(self.classes), len(self.mean_D)
        if classes < 2 or len(set(self.classes)) < classes:
            raise ValueError(f"classes {self.classes}: a head needs two or more, each once")
        shapes = (self.mean_D.shape, self.scale_D.shape, self.weights_KD.shape, self.bias_K.shape)
        if shapes != ((dimensions,), (dimensions,), (classes, dimensions), (classes,)):
            raise ValueError(f"mean, scale, weights and bias have shapes {shapes}, which do not fit {classes} classes")
        if not all(np.isfinite(values).all() for values in (self.mean_D, self.scale_D, self.weights_KD, self.bias_K)):
            raise ValueError("the weights hold NaN or infinity")

    def probabilities(self, embeddings_ND: np.ndarray) -> np.ndarray:
        """(N, D) -> (N, K), each row sums to 1. Raises ValueError for embeddings of another length."""
        embeddings_ND = np.asarray(embeddings_ND, np.float64)
        if embeddings_ND.shape[-1] != len(self.mean_D):
            raise ValueError(f"embeddings of {embeddings_ND.shape[-1]} values; this head takes {len(self.mean_D)}")
        return softmax((embeddings_ND - self.mean_D) / self.scale_D @ self.weights_KD.T + self.bias_K, axis=-1)

    def to_json(self) -> bytes:
        numbers = {name: getattr(self, name).tolist() for name in ("mean_D", "scale_D", "weights_KD", "bias_K")}
        return json.dumps(
            {
                "format": FORMAT,
                "student_sha256": self.student_sha256,
                "classes": self.classes,
                "meta": self.meta,
                **numbers,
            },
            allow_nan=False,
        ).encode()


def load_head(data: bytes) -> EmotionHead:
    """The head in a file's bytes. Raises a ValueError that says what to do if the file is damaged or not a head."""
    try:
        content = json.loads(data)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']!r}")
        arrays = {n: np.array(content[n], np.float64) for n in ("mean_D", "scale_D", "weights_KD", "bias_K")}
        return EmotionHead(
            classes=tuple(content["classes"]),
            student_sha256=content["student_sha256"],
            meta=content["meta"],
            **arrays,
        )
    except (KeyError, TypeError, ValueError) as error:  # JSON and Unicode errors are ValueErrors
        raise ValueError(f"not a head of format {FORMAT}, or damaged ({str(error)[:200]}); {_REMEDY}") from error


def fit_head(
    embeddings_ND: np.ndarray,
    labels_N: np.ndarray,
    *,
    inverse_penalty: float,
    student_sha256: str,
    meta: dict[str, Any],
) -> EmotionHead:
    """Fits standardisation and an L2 multinomial logistic regression. inverse_penalty: scikit-learn's C. labels_N: class
    names."""
    # scikit-learn takes a second to import, and who only uses a head does without
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(embeddings_ND)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = LogisticRegression(C=inverse_penalty, max_iter=MAX_ITERATIONS)
        model.fit(scaler.transform(embeddings_ND), labels_N)
    weights_KD, bias_K = np.asarray(model.coef_), np.asarray(model.intercept_)
    if len(model.classes_) == 2:  # for two classes scikit-learn keeps one row, whose sigmoid equals this softmax
        weights_KD, bias_K = np.vstack([-weights_KD, weights_KD]) / 2, np.concatenate([-bias_K, bias_K]) / 2
    classes = tuple(str(name) for name in model.classes_)
    mean_D, scale_D = np.asarray(scaler.mean_), np.asarray(scaler.scale_)
    return EmotionHead(classes, mean_D, scale_D, weights_KD, bias_K, student_sha256, meta)
