"""Linear probes of fixed features on true emotion labels, by the paper's protocol and by one without shared speakers.

Pure functions on feature matrices. Shape letters: N clips, F features, K classes, R bootstrap resamples.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import recall_score
from sklearn.model_selection import GroupKFold
from sklearn.preprocessing import StandardScaler

from modeling.evaluation.bootstrap import RESAMPLES, Estimate, Resamples, interval

PAPER_FOLDS = 10  # mcnCrossModalEmotions external/run_cross_val.m
MOST_SPEAKERS_LEFT_OUT_SINGLY = 10
SPEAKER_FOLDS = 5
INNER_FOLDS = 3
INVERSE_PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Values of C (scikit-learn's word: the inverse of the L2 penalty) that the speaker-independent protocol chooses from,
strongest penalty first."""

INVERSE_PENALTY_WITHOUT_CHOICE = 1e-1
"""C for a training fold with only one speaker, where no speaker can be held out to choose it."""

MAX_ITERATIONS = 500


@dataclass(frozen=True)
class Recalls:
    """uar: mean recall over the classes present; war: accuracy; resampled: "speakers" or "utterances", in both intervals."""

    uar: Estimate
    war: Estimate
    resampled: str


def paper_folds(clips: int, seed: int = 0) -> np.ndarray:
    """Fold (N,) of each clip: a random permutation cut at round(linspace(0, N, 11)), whoever speaks (run_cross_val.m).

    Halves are rounded up, as by MATLAB's `round`. Raises ValueError for fewer than ten clips: a fold would be empty.
    """
    if clips < PAPER_FOLDS:
        raise ValueError(
            f"{clips} clips: the paper's protocol cuts them into {PAPER_FOLDS} folds, so give at least as many"
        )
    edges = np.floor(np.linspace(0, clips, PAPER_FOLDS + 1) + 0.5).astype(int)
    fold_N = np.empty(clips, int)
    for fold, rows in enumerate(np.split(np.random.default_rng(seed).permutation(clips), edges[1:-1])):
        fold_N[rows] = fold
    return fold_N


def speaker_folds(speakers_N: np.ndarray, seed: int = 0) -> np.ndarray:
    """Fold (N,) of each clip; each speaker is in one fold only.

    Up to ten speakers, each speaker is a fold; with more, the speakers are shuffled by the seed into five folds.
    Raises ValueError for a single speaker: no other would be left to learn from.
    """
    speakers_N = np.asarray(speakers_N)
    speakers = len(np.unique(speakers_N))
    if speakers < 2:
        raise ValueError("all clips are of one speaker; a protocol without shared speakers needs at least two")
    folds = speakers if speakers <= MOST_SPEAKERS_LEFT_OUT_SINGLY else SPEAKER_FOLDS
    fold_N = np.empty(len(speakers_N), int)
    for fold, (_, rows) in enumerate(_grouped(folds, seed).split(speakers_N, groups=speakers_N)):
        fold_N[rows] = fold
    return fold_N


def unregularised_predictions(features_NF: np.ndarray, labels_N: np.ndarray, fold_N: np.ndarray) -> np.ndarray:
    """Class (N,) of each clip by a multinomial regression without penalty, fitted to the other folds.

    Features are standardised on the training folds: the optimum is the same, and the solver reaches it sooner.
    """
    features_NF, labels_N = _checked(features_NF, labels_N)
    predicted_N = np.empty(len(labels_N), int)
    for train_N in (fold_N != fold for fold in np.unique(fold_N)):
        train_TF, test_TF = _standardised(features_NF, train_N)
        predicted_N[~train_N] = _fitted_predictions(train_TF, labels_N[train_N], test_TF, np.inf)
    return predicted_N


def regularised_predictions(
    features_NF: np.ndarray, labels_N: np.ndarray, speakers_N: np.ndarray, fold_N: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, list[float]]:
    """Class (N,) of each clip by L2 logistic regression fitted to the other folds, and the C of each fold.

    C is the value of INVERSE_PENALTIES with the highest UAR over inner folds of the training clips, which share no speaker
    either; the strongest penalty wins a tie. Scaling, choice of C and fit see only the training folds.
    """
    features_NF, labels_N = _checked(features_NF, labels_N)
    speakers_N, fold_N = np.asarray(speakers_N), np.asarray(fold_N)
    predicted_N = np.empty(len(labels_N), int)
    chosen: list[float] = []
    for train_N in (fold_N != fold for fold in np.unique(fold_N)):
        inverse_penalty = _chosen_inverse_penalty(features_NF[train_N], labels_N[train_N], speakers_N[train_N], seed)
        train_TF, test_TF = _standardised(features_NF, train_N)
        predicted_N[~train_N] = _fitted_predictions(train_TF, labels_N[train_N], test_TF, inverse_penalty)
        chosen.append(inverse_penalty)
    return predicted_N, chosen


def transferred_probabilities(
    train: tuple[np.ndarray, np.ndarray, np.ndarray], features_SF: np.ndarray, classes: int, seed: int = 0
) -> np.ndarray:
    """Probabilities (S, classes) that an L2 logistic regression, learnt from all of one corpus, gives the clips of another.

    train: features (T, F), class indices (T,) and speakers (T,); C is chosen as in `regularised_predictions`. A class that
    the training lacks gets 0.
    """
    features_TF, labels_T = _checked(*train[:2])
    inverse_penalty = _chosen_inverse_penalty(features_TF, labels_T, np.asarray(train[2]), seed)
    scaler = StandardScaler().fit(features_TF)
    model = LogisticRegression(C=inverse_penalty, max_iter=MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(np.asarray(scaler.transform(features_TF)), labels_T)
    probabilities_SK = np.zeros((len(features_SF), classes))
    probabilities_SK[:, model.classes_] = model.predict_proba(np.asarray(scaler.transform(np.asarray(features_SF))))
    return probabilities_SK


def recalls(
    predicted_N: np.ndarray, labels_N: np.ndarray, speakers_N: np.ndarray, *, resamples: int = RESAMPLES, seed: int = 0
) -> Recalls:
    """UAR and WAR of the predictions of all folds together."""
    predicted_N, labels_N = np.asarray(predicted_N), np.asarray(labels_N)
    drawn = Resamples.draw(speakers_N, resamples, seed)
    right_N = predicted_N == labels_N
    of_class_NK = labels_N[:, None] == np.unique(labels_N)
    uar = float(np.mean([right_N[of_class].mean() for of_class in of_class_NK.T]))
    return Recalls(
        Estimate(uar, *interval(drawn.mean_recalls(right_N, of_class_NK))),
        Estimate(float(right_N.mean()), *interval(drawn.means(right_N))),
        drawn.resampled,
    )


def accuracy_over_folds(predicted_N: np.ndarray, labels_N: np.ndarray, fold_N: np.ndarray) -> tuple[float, float]:
    """Mean and deviation (N - 1) of the folds' accuracies, as the paper reports them (run_cross_val.m)."""
    right_N = np.asarray(predicted_N) == np.asarray(labels_N)
    accuracies = [right_N[fold_N == fold].mean() for fold in np.unique(fold_N)]
    return float(np.mean(accuracies)), float(np.std(accuracies, ddof=1))


def _grouped(folds: int, seed: int) -> GroupKFold:
    return GroupKFold(folds, shuffle=True, random_state=seed)


def _checked(features_NF: np.ndarray, labels_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features_NF, labels_N = np.asarray(features_NF, np.float64), np.asarray(labels_N)
    if features_NF.ndim != 2 or len(features_NF) != len(labels_N) or not len(labels_N):
        raise ValueError(f"features {features_NF.shape} and labels {labels_N.shape}: give N x F features and N labels")
    if broken := int((~np.isfinite(features_NF)).any(1).sum()):
        raise ValueError(f"{broken} of {len(labels_N)} rows of features are not finite; leave those clips out")
    return features_NF, labels_N


def _standardised(features_NF: np.ndarray, train_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Training and test rows, standardised by the mean and deviation of the training rows."""
    scaler = StandardScaler().fit(features_NF[train_N])
    return np.asarray(scaler.transform(features_NF[train_N])), np.asarray(scaler.transform(features_NF[~train_N]))


def _fitted_predictions(
    train_TF: np.ndarray, labels_T: np.ndarray, test_SF: np.ndarray, inverse_penalty: float
) -> np.ndarray:
    """Predictions (S,); if the training labels hold only one class, that class."""
    if len(np.unique(labels_T)) == 1:
        return np.full(len(test_SF), labels_T[0])
    with warnings.catch_warnings():
        # Without a penalty, separable classes have no optimum; the last iterate separates them.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=inverse_penalty, max_iter=MAX_ITERATIONS).fit(train_TF, labels_T).predict(test_SF)


def _chosen_inverse_penalty(features_TF: np.ndarray, labels_T: np.ndarray, speakers_T: np.ndarray, seed: int) -> float:
    speakers = len(np.unique(speakers_T))
    if speakers < 2:
        return INVERSE_PENALTY_WITHOUT_CHOICE
    predicted_CT = np.empty((len(INVERSE_PENALTIES), len(labels_T)), int)
    for train, test in _grouped(min(INNER_FOLDS, speakers), seed).split(features_TF, groups=speakers_T):
        train_T = np.isin(np.arange(len(labels_T)), train)
        train_UF, test_SF = _standardised(features_TF, train_T)
        for index, inverse_penalty in enumerate(INVERSE_PENALTIES):
            predicted_CT[index, test] = _fitted_predictions(train_UF, labels_T[train], test_SF, inverse_penalty)
    classes = np.unique(labels_T)
    uar_C = [recall_score(labels_T, predicted_T, labels=classes, average="macro") for predicted_T in predicted_CT]
    return INVERSE_PENALTIES[int(np.argmax(uar_C))]


def held_out_probabilities(
    features_NF: np.ndarray, labels_N: np.ndarray, fold_N: np.ndarray, *, classes: int, inverse_penalty: float = 1e-2
) -> np.ndarray:
    """Probabilities (N, classes) by L2 logistic regression learnt from the other folds; 0 for classes that they lack.

    Raises ValueError where the other folds of some fold hold one class only.
    """
    features_NF, labels_N = _checked(features_NF, labels_N)
    probabilities_NK = np.zeros((len(labels_N), classes))
    for train_N in (fold_N != fold for fold in np.unique(fold_N)):
        if len(np.unique(labels_N[train_N])) < 2:
            raise ValueError("all clips of the other speakers have one label; nothing can be learnt from them")
        train_TF, test_SF = _standardised(features_NF, train_N)
        fitted = LogisticRegression(C=inverse_penalty, max_iter=MAX_ITERATIONS).fit(train_TF, labels_N[train_N])
        rows = np.flatnonzero(~train_N)
        probabilities_NK[np.ix_(rows, fitted.classes_)] = fitted.predict_proba(test_SF)
    return probabilities_NK
