"""From two sets on storage to the figures of their comparison.

Shape letters: C utterances that are labelled in both, E = 8 emotions.
"""

import numpy as np

from modeling.emotions import EMOTIONS
from modeling.evaluation.agreement import (
    ROWS_AT_ONCE,
    dominant_agreement,
    draw,
    mean_estimate,
    soft_differences,
)
from modeling.evaluation.calibration import calibration
from modeling.evaluation.divergence import teacher_probabilities
from pipeline.comparison.doubts import doubts
from pipeline.comparison.figures import ChangedUtterance, Comparison, Distribution, Reliability
from pipeline.comparison.joined import JoinedSets, set_facts


def compare(joined: JoinedSets, *, most: int) -> Comparison:
    """most: how many of the utterances that changed most are named."""
    a, b = joined.a, joined.b
    a_CE, b_CE = a.logits_NE[joined.compared_a_C], b.logits_NE[joined.compared_b_C]
    a_C, b_C = a_CE.argmax(1), b_CE.argmax(1)
    speakers_C = a.table["speaker_id"].combine_chunks().indices.to_numpy()[joined.compared_a_C]
    drawn = draw(speakers_C)
    agreement = dominant_agreement(a_C, b_C, drawn)
    soft = soft_differences(a_CE, b_CE)
    return Comparison(
        a=set_facts(a),
        b=set_facts(b),
        warnings=doubts(joined),
        overlap=joined.overlap(),
        reject_changes=joined.reject_changes(),
        speakers=len(np.unique(speakers_C)),
        resampled=agreement.resampled,
        agreement=agreement.overall,
        agreement_by_emotion=agreement.by_emotion,
        kappa=agreement.kappa,
        confusion=agreement.confusion.tolist(),
        distribution_a=_distribution(a_CE),
        distribution_b=_distribution(b_CE),
        js=mean_estimate(soft.js_N, drawn),
        kl_a_b=mean_estimate(soft.kl_ab_N, drawn),
        kl_b_a=mean_estimate(soft.kl_ba_N, drawn),
        reliability_a=Reliability(*calibration(a_CE, b_C)),
        reliability_b=Reliability(*calibration(b_CE, a_C)),
        most_changed=_most_changed(joined, soft.js_N, most),
    )


def _distribution(logits_CE: np.ndarray) -> Distribution:
    counts_E = np.bincount(logits_CE.argmax(1), minlength=len(EMOTIONS))
    starts = range(0, len(logits_CE), ROWS_AT_ONCE)
    sums_E = np.sum([teacher_probabilities(logits_CE[k : k + ROWS_AT_ONCE]).sum(0) for k in starts], axis=0)
    return Distribution(
        dict(zip(EMOTIONS, counts_E.tolist(), strict=True)),
        dict(zip(EMOTIONS, (sums_E / len(logits_CE)).tolist(), strict=True)),
    )


def _most_changed(joined: JoinedSets, js_C: np.ndarray, most: int) -> tuple[ChangedUtterance, ...]:
    """The largest distance first; those of the same distance by their ids. Utterances that did not change are none."""
    if not most:
        return ()
    least = np.sort(js_C)[-min(most, len(js_C))]
    candidates = np.flatnonzero((js_C >= least) & (js_C > 0))
    ids = {int(k): joined.a.table["utterance_id"][int(joined.compared_a_C[k])].as_py() for k in candidates}
    chosen = sorted(ids, key=lambda k: (-js_C[k], ids[k]))[:most]
    return tuple(_changed(joined, k, float(js_C[k])) for k in chosen)


def _changed(joined: JoinedSets, k: int, js: float) -> ChangedUtterance:
    row_a, row_b = int(joined.compared_a_C[k]), int(joined.compared_b_C[k])
    row = joined.a.table.slice(row_a, 1).to_pylist()[0]
    p_E, q_E = (teacher_probabilities(each.logits_NE[n][None])[0] for each, n in ((joined.a, row_a), (joined.b, row_b)))
    return ChangedUtterance(
        **{name: row[name] for name in ("utterance_id", "speaker_id", "video_id", "split")},
        js=js,
        emotion_a=EMOTIONS[int(p_E.argmax())],
        emotion_b=EMOTIONS[int(q_E.argmax())],
        probabilities_a=tuple(p_E.tolist()),
        probabilities_b=tuple(q_E.tolist()),
    )
