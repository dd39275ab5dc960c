"""The zero-shot exam of a student on one corpus, beside classifiers that were trained on the true labels of another.

Shape letters: N clips, F features, E = 8 emotions.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
from scipy.special import softmax

from cluster.failures import UserError
from modeling.emotions import EMOTIONS
from modeling.evaluation.linear_probe import transferred_probabilities
from modeling.evaluation.zero_shot import ZeroShotScores, speaker_centred, without_speaker_mean, zero_shot_scores
from modeling.students.build import Student
from modeling.students.prior import corrected
from pipeline.corpora.clip import CorpusClip
from pipeline.corpora.ferplus_names import ferplus_emotion
from pipeline.probe.features import ProbeFeatures, probe_features

PEER_SETS = ("egemaps", "embedding")
RAW, LOGITS, CORRECTED, CENTRED = "raw", "logits", "corrected", "speaker_centred"


@dataclass(frozen=True)
class ExamClips:
    """Clips of a corpus whose emotion FER+ has, under its FER+ name; others: number of the rest by emotion."""

    clips: list[CorpusClip]
    others: dict[str, int]


@dataclass(frozen=True)
class Peer:
    """The true labels that a peer learns from: features of its clips, and the name of their corpus."""

    corpus: str
    read: ProbeFeatures


@dataclass(frozen=True, kw_only=True)
class Exam:
    """variants: "raw", the probabilities as `predict` gives them; "logits", which do not depend on each other; "corrected",
    with the prior of the training set out (missing where it is not known); "speaker_centred", with the mean of each speaker's
    own logits out. peers: classifiers trained on the true labels of another corpus, by feature set, raw and with each
    speaker's mean off the features.

    chance_uar: of a mean recall over the corpus's emotions; the chance of every AUC is 0.5. knows_its_speakers: whether the
    student's file says who it learned from, so that a speaker of the corpus among them was looked for.
    """

    n: int
    speakers: int
    positives: dict[str, int]
    variants: dict[str, ZeroShotScores]
    peers: dict[str, dict[str, ZeroShotScores]]
    peer_corpus: str | None
    chance_uar: float
    other_emotions: dict[str, int]
    rejected: int
    reasons: dict[str, int]
    knows_its_speakers: bool


def exam_clips(clips: Sequence[CorpusClip], data: str) -> ExamClips:
    """Raises UserError where the clips have fewer than two emotions of FER+."""
    kept: list[CorpusClip] = []
    others: Counter[str] = Counter()
    for clip in clips:
        emotion = ferplus_emotion(clip.emotion or "")
        if clip.reject_reason is None and emotion is None:
            others[clip.emotion or ""] += 1
        else:
            kept.append(replace(clip, emotion=emotion))
    if len({clip.emotion for clip in kept if clip.reject_reason is None}) < 2:
        raise UserError(
            f"{data}: fewer than two emotions that FER+ has ({', '.join(EMOTIONS)}); others: {dict(others)}"
        )
    return ExamClips(kept, dict(others.most_common()))


def require_new_speakers(student_meta: dict, clips: Sequence[CorpusClip], data: str) -> bool:
    """Whether the student's file says whom it heard in training. Raises UserError where the corpus has one of them."""
    heard = student_meta.get("speakers")
    if heard is None:
        return False
    if both := sorted({clip.speaker for clip in clips if clip.speaker} & set(heard)):
        raise UserError(
            f"{data}: the student learned from {len(both)} of its speakers ({', '.join(both[:3])}); zero-shot is on "
            "speakers that it never heard: leave theirs out, or rename them if they only share a name"
        )
    return True


def examine(
    student: Student,
    meta: dict,
    exam: ExamClips,
    *,
    peer: Peer | None,
    device: str,
    knows_its_speakers: bool,
    seed: int,
    address: str | None = None,
) -> tuple[Exam, pa.Table]:
    """The exam and, as a table, the probabilities of each clip. Raises UserError where no clip can be heard."""
    read = probe_features(student, exam.clips, device=device, baselines=peer is not None, seed=seed, address=address)
    if not read.used:
        first = next(clip for clip in read.clips if clip.reject_reason)
        raise UserError(
            f"no clip can be heard; the first is {first.file}: {first.reject_reason}, {first.reject_detail}"
        )
    truth_N, speakers_N = truth_of(read.used)
    scores = _variants(read.features["logits"], speakers_N, meta)
    reasons = Counter(clip.reject_reason for clip in read.clips if clip.reject_reason)
    figures = {name: zero_shot_scores(scores_NE, truth_N, speakers_N, seed) for name, scores_NE in scores.items()}
    found = Exam(
        n=len(read.used),
        speakers=len(np.unique(speakers_N)),
        positives={EMOTIONS[k]: int((truth_N == k).sum()) for k in np.unique(truth_N)},
        variants=figures,
        peers={} if peer is None else _peers(peer, read, truth_N, speakers_N, seed),
        peer_corpus=None if peer is None else peer.corpus,
        chance_uar=1 / len(np.unique(truth_N)),
        other_emotions=exam.others,
        rejected=reasons.total(),
        reasons={str(reason): count for reason, count in reasons.most_common()},
        knows_its_speakers=knows_its_speakers,
    )
    return found, answers_table(read, scores)


def truth_of(used: Sequence[CorpusClip]) -> tuple[np.ndarray, np.ndarray]:
    """Index of the true emotion (N,), and the speaker (N,)."""
    truth_N = np.array([EMOTIONS.index(clip.emotion or "") for clip in used])
    return truth_N, np.array([clip.speaker for clip in used])


def _variants(logits_NE: np.ndarray, speakers_N: np.ndarray, meta: dict) -> dict[str, np.ndarray]:
    probabilities_NE = softmax(np.asarray(logits_NE, np.float64), axis=1)
    found = {RAW: probabilities_NE, LOGITS: logits_NE}
    if meta.get("prior") is not None:
        found[CORRECTED] = corrected(probabilities_NE, np.array(meta["prior"]), meta.get("prior_strength", 1.0))
    return found | {CENTRED: speaker_centred(logits_NE, speakers_N)}


def _peers(
    peer: Peer, read: ProbeFeatures, truth_N: np.ndarray, speakers_N: np.ndarray, seed: int
) -> dict[str, dict[str, ZeroShotScores]]:
    labels_T, speakers_T = truth_of(peer.read.used)
    found: dict[str, dict[str, ZeroShotScores]] = {}
    for name in PEER_SETS:
        train_TF, test_NF = peer.read.features[name], read.features[name]
        centred = (without_speaker_mean(train_TF, speakers_T), without_speaker_mean(test_NF, speakers_N))
        found[name] = {}
        for variant, (given_TF, asked_NF) in ((RAW, (train_TF, test_NF)), (CENTRED, centred)):
            scores_NE = transferred_probabilities((given_TF, labels_T, speakers_T), asked_NF, len(EMOTIONS), seed)
            found[name][variant] = zero_shot_scores(scores_NE, truth_N, speakers_N, seed)
    return found


def answers_table(read: ProbeFeatures, scores: dict[str, np.ndarray]) -> pa.Table:
    """file, speaker, emotion (of FER+) and the student's answers to each clip that was used, EMOTION_VARIANT."""
    columns = {name: [getattr(clip, name) for clip in read.used] for name in ("file", "speaker", "emotion")}
    for variant, scores_NE in scores.items():
        columns |= {f"{emotion}_{variant}": scores_NE[:, k].tolist() for k, emotion in enumerate(EMOTIONS)}
    return pa.table(columns)
