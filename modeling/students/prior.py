"""The prior: how often the student's teacher saw each emotion; and the student's answers with the prior removed.

Talking-face video is mostly neutral, so a student that learned it well answers "neutral" most of the time. Dividing its
probabilities by the prior shows what the voice adds: post-hoc logit adjustment (Menon et al., Long-tail learning via
logit adjustment, ICLR 2021, section 4.1). Shape letters: N utterances, E = 8 emotions.
"""

import numpy as np
from scipy.special import softmax

LEAST_PRIOR = 1e-4
"""An emotion rarer than this could not be learned, or the teacher does not know it; its probability is not raised."""

STRENGTHS = np.linspace(0, 1.5, 31)
MIN_UTTERANCES = 20


def soft_prior(logits_NE: np.ndarray) -> np.ndarray:
    """Mean softmax of the teacher's logits over the training utterances, (E,)."""
    return softmax(np.asarray(logits_NE, np.float64), axis=1).mean(0)


def corrected(probabilities_NE: np.ndarray, prior_E: np.ndarray, strength: float = 1.0) -> np.ndarray:
    """p / prior**strength, normalised over the emotions; strength 0 changes nothing, 1 removes the prior. (N, E) or (E,)."""
    prior_E = np.asarray(prior_E, np.float64)
    prior_E = np.where(prior_E < LEAST_PRIOR, 1.0, prior_E)
    odds_NE = np.asarray(probabilities_NE, np.float64) / prior_E**strength
    return odds_NE / odds_NE.sum(-1, keepdims=True)


def calibrated_strength(probabilities_NE: np.ndarray, dominant_N: np.ndarray, prior_E: np.ndarray) -> float:
    """The strength that minimises the negative log likelihood when each emotion has the same total weight.

    dominant_N: the teacher's dominant emotion of utterances that the student did not learn from. 1.0 if there are fewer
    than 20 of them or all have the same emotion.
    """
    dominant_N = np.asarray(dominant_N)
    present = np.unique(dominant_N)
    if len(dominant_N) < MIN_UTTERANCES or len(present) < 2:
        return 1.0

    def loss(strength: float) -> float:
        chosen_N = corrected(probabilities_NE, prior_E, strength)[np.arange(len(dominant_N)), dominant_N]
        surprise_N = -np.log(np.maximum(chosen_N, 1e-12))
        return float(np.mean([surprise_N[dominant_N == emotion].mean() for emotion in present]))

    return float(min(STRENGTHS, key=loss))
