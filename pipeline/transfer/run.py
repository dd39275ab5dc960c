"""How much of a voice's emotion a student learns from faces: the same speech with faces that fit it more or less often.

OUT/identity.json             speech, faces, teacher and recipe; a benchmark with others is refused
OUT/face_logits.parquet       the teacher's logits of the faces
OUT/runs                      a student per rho and seed, and per seed with true emotions (`pipeline/transfer/trials.py`)
"""

import itertools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from cluster import storage
from cluster.devices import local_device
from cluster.failures import UserError
from cluster.identity import claim
from cluster.json_values import json_ready
from modeling.emotions import EMOTIONS, FREQUENT_EMOTIONS
from modeling.evaluation.transfer import (
    CHANCE,
    SpeakerSplit,
    TransferPredictions,
    measurable,
    split_speakers,
    transfer_quality,
)
from modeling.teachers.load import load_teacher
from pipeline.transfer.labels import chosen_faces, face_bank
from pipeline.transfer.speech import SpeechClip
from pipeline.transfer.trials import SUPERVISED, TransferBenchmark, TransferRun, all_scores, labels_right

log = logging.getLogger(__name__)


def run_benchmark(benchmark: TransferBenchmark, address: str | None) -> dict[str, Any]:
    """Makes every set, student and score that is missing. Returns the job's JSON, without report and seconds."""
    clips = benchmark.readable
    wanted = [emotion for emotion in EMOTIONS if emotion in {clip.file.truth for clip in clips}]
    rows_M, emotion_M = chosen_faces(benchmark.faces, wanted, benchmark.faces_per_clip, benchmark.faces_uri)
    splits = _splits(clips, benchmark.seeds)
    device = local_device(benchmark.gpu)
    claim(benchmark.out_uri, benchmark.identity())
    weights = benchmark.teacher
    teacher = load_teacher(weights.name, weights.data, weights.description, device=device)
    logits_uri = storage.join(benchmark.out_uri, "face_logits.parquet")
    bank = face_bank(benchmark.faces, rows_M, emotion_M, teacher=teacher, cache_uri=logits_uri)
    kinds = [*benchmark.rhos, SUPERVISED]
    runs = [TransferRun(rho, seed, split) for seed, split in enumerate(splits) for rho in kinds]
    scores = all_scores(benchmark, runs, bank, address)
    result = {
        kind: _quality([scores[run] for run in runs if run.rho == kind])
        | {"labels_right": float(np.mean([labels_right(benchmark, run) for run in runs if run.rho == kind]))}
        for kind in kinds
    }
    return result | {
        **json_ready(findings(result, benchmark.rhos)),
        "emotions": result[SUPERVISED]["emotions"],
        "n": result[SUPERVISED]["n"],
        "speakers": result[SUPERVISED]["speakers"],
        "seeds": benchmark.seeds,
        "held_out_speakers": {str(seed): list(split.held_out) for seed, split in enumerate(splits)},
        "teacher": bank.teacher,
        "faces": len(rows_M),
        "clips": len(clips),
        "rejected": len(benchmark.clips) - len(clips),
    }


@dataclass(frozen=True)
class NegativeControl:
    """Whether the interval at rho = 0, where faces tell nothing about voices, contains chance."""

    contains_chance: bool
    low: float
    high: float


@dataclass(frozen=True)
class Findings:
    """The benchmark's answers: whether it is at chance at rho = 0, whether it rises with rho, and how much of the ceiling it
    reaches at rho = 1. None if the rho was not asked for, or the ceiling itself is not above chance."""

    negative_control: NegativeControl | None
    rises_with_rho: bool | None
    transfer_of_ceiling: float | None


def findings(result: dict[str, dict[str, Any]], rhos: Sequence[str]) -> Findings:
    """result: rho, or `SUPERVISED` -> quality of its students."""
    at = {float(rho): result[rho] for rho in rhos}
    control = None
    if 0.0 in at:
        low, high = at[0.0]["low"], at[0.0]["high"]
        control = NegativeControl(low <= CHANCE <= high, low, high)
    means = [at[rho]["mean_auc"] for rho in sorted(at)]
    ceiling = result[SUPERVISED]["mean_auc"] - CHANCE
    return Findings(
        negative_control=control,
        rises_with_rho=all(a < b for a, b in itertools.pairwise(means)) if len(means) > 1 else None,
        transfer_of_ceiling=(at[1.0]["mean_auc"] - CHANCE) / ceiling if 1.0 in at and ceiling > 0 else None,
    )


def _splits(clips: Sequence[SpeechClip], seeds: int) -> list[SpeakerSplit]:
    speakers = [clip.file.speaker_id for clip in clips]
    truth_N = np.array([EMOTIONS.index(clip.file.truth) for clip in clips])
    try:
        splits = split_speakers(speakers, truth_N, seeds)
    except ValueError as error:
        raise UserError(str(error)) from error
    measured = measurable([truth_N[np.isin(speakers, split.held_out)] for split in splits], FREQUENT_EMOTIONS)
    if missing := [emotion for emotion in FREQUENT_EMOTIONS if emotion not in measured]:
        log.warning(
            "too few held-out clips to measure %s; the mean is over %s", ", ".join(missing), ", ".join(measured)
        )
    return splits


def _quality(scores: Sequence[pa.Table]) -> dict:
    quality = transfer_quality(
        [
            TransferPredictions(
                np.array(table["probabilities"].to_pylist(), np.float64),
                np.array([EMOTIONS.index(truth) for truth in table["truth"].to_pylist()]),
                np.array(table["speaker_id"].to_pylist()),
            )
            for table in scores
        ]
    )
    return json_ready(quality)
