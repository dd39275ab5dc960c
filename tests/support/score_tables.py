"""Hand-made tables of scores: a teacher's logits, and students that follow it more or less."""

import numpy as np
import pyarrow as pa
from scipy.special import softmax

from modeling.emotions import EMOTIONS
from pipeline.evaluation.scores import SCORE_SCHEMA


def score_table(
    name: str = "student",
    n: int = 240,
    speakers: int = 20,
    follows: float = 0.5,
    noise_seed: int = 1,
    is_corrected: bool = True,
    masked: tuple[str, ...] = (),
) -> pa.Table:
    """Half of the speakers are heard, half unheard. "corrected" is the student without its bias towards neutral."""
    rng, own = np.random.default_rng(0), np.random.default_rng(noise_seed)
    logits = rng.normal(0, 1.5, (n, 8)) + np.array([2.0, 1, 0.3, 0.6, 0.2, -3, -3, -3])
    speaker = rng.integers(speakers, size=n)
    student = follows * logits + own.normal(0, 0.7, (n, 8)) + np.array([1.5, 0, 0, 0, 0, -2, -2, -2])
    for emotion in masked:
        logits[:, EMOTIONS.index(emotion)] = -100.0
    columns = {
        "student": [name] * n,
        "utterance_id": [f"u{k:04d}" for k in range(n)],
        "speaker_id": [f"s{k}" for k in speaker],
        "split": ["heard" if k < speakers / 2 else "unheard" for k in speaker],
        "emotion": [EMOTIONS[k] for k in logits.argmax(1)],
        "teacher": ["compact@0"] * n,
        "logits": logits.tolist(),
        "probabilities": softmax(student, axis=1).tolist(),
        "corrected": softmax(student - np.eye(8)[0] * 1.5, axis=1).tolist() if is_corrected else [None] * n,
    }
    return pa.Table.from_pydict(columns, schema=SCORE_SCHEMA)
