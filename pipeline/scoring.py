"""The student's answers on a distillation set, and how well they rank the teacher's dominant emotions."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import ray
import torch
from ray.data import ActorPoolStrategy

from cluster import storage
from cluster.budget import Stage
from cluster.failures import UserError
from cluster.session import place, session, worker_cores
from modeling.emotions import EMOTIONS
from modeling.metrics import emotion_auc, mean_auc
from modeling.student import Student
from modeling.student_checkpoint import load_student
from pipeline.distillation_set import read_labels
from pipeline.schema import SPLITS
from pipeline.speech import SAMPLE_RATE_HZ, decode_flac
from pipeline.training_set import USABLE, read_utterances, usable

SCORED_COLUMNS = ["utterance_id", "speaker_id", "split", "emotion", "speech_flac"]
SCORE_SCHEMA = pa.schema(
    [(name, pa.string()) for name in SCORED_COLUMNS[:4]] + [("probabilities", pa.list_(pa.float32(), len(EMOTIONS)))]
)
HELD_OUT = ("heard", "unheard")
ROWS_PER_BATCH = 16


def read_student(uri: str) -> Student:
    """The student at a path or s3:// URI, or `student.safetensors` in that folder. Raises UserError if it is not one."""
    file_uri = storage.join(uri, "student.safetensors") if storage.is_folder(uri) else uri
    try:
        return load_student(storage.read_bytes(file_uri))
    except ValueError as error:
        raise UserError(f"{file_uri}: {error}") from error


class StudentScorer:
    """Ray Data callable: rows with `speech_flac` -> rows of `SCORE_SCHEMA`, softmax of the student on the whole clip."""

    def __init__(self, student: ray.ObjectRef):
        self.student: Student = ray.get(student)

    def __call__(self, rows: pa.Table) -> pa.Table:
        probabilities = [
            self.student.predict(torch.from_numpy(decode_flac(flac)), SAMPLE_RATE_HZ).numpy()
            for flac in rows["speech_flac"].to_pylist()
        ]
        return rows.select(SCORED_COLUMNS[:4]).append_column(
            SCORE_SCHEMA.field("probabilities"), pa.array(probabilities, SCORE_SCHEMA.field("probabilities").type)
        )


def score(student: Student, labels_uri: str, address: str | None) -> pa.Table:
    """The student's probabilities for every labelled utterance that has speech; a table of `SCORE_SCHEMA`."""
    table = read_labels(labels_uri, ["reject_reason", "speech_samples"])
    usable_rows = table.filter(USABLE)
    if not len(usable_rows):
        raise UserError(f"{labels_uri}: no labelled utterance has speech; there is nothing to evaluate on")
    with session(address):
        stage = Stage(name="student", workers=min(worker_cores(address), -(-len(usable_rows) // ROWS_PER_BATCH)))
        place([stage])
        scored = read_utterances(labels_uri, SCORED_COLUMNS, usable()).map_batches(
            StudentScorer,
            fn_constructor_args=(ray.put(student),),
            batch_format="pyarrow",
            batch_size=ROWS_PER_BATCH,
            compute=ActorPoolStrategy(size=stage.workers),
            num_cpus=stage.cpus,
        )
        batches = [batch.cast(SCORE_SCHEMA) for batch in scored.iter_batches(batch_format="pyarrow", batch_size=None)]
    return pa.concat_tables(batches).sort_by("utterance_id")


def evaluate_scores(scores: pa.Table, split: str) -> dict:
    """The paper's protocol on one split, or on "held-out" (heard and unheard together) or "all".

    Returns auc (emotion -> value, low, high, positives), mean_auc, and on how many utterances and speakers.
    """
    wanted = {"held-out": HELD_OUT, "all": SPLITS}.get(split, (split,))
    rows = scores.filter(pc.is_in(scores["split"], pa.array(wanted)))
    if not len(rows):
        raise UserError(f"no labelled utterance with speech in split {split!r}; choose another --split, such as all")
    probabilities_NE = np.array(rows["probabilities"].to_pylist(), np.float64)
    dominant_N = np.array([EMOTIONS.index(emotion) for emotion in rows["emotion"].to_pylist()])
    speakers_N = np.array(rows["speaker_id"].to_pylist())
    auc = emotion_auc(probabilities_NE, dominant_N, speakers_N)
    resampled = {entry.pop("resampled") for entry in auc.values()}
    mean = mean_auc(probabilities_NE, dominant_N, speakers_N)
    return {
        "split": split,
        "utterances": len(rows),
        "speakers": len(set(speakers_N)),
        "resampled": resampled.pop(),
        "auc": auc,
        "mean_auc": mean["value"],
        "mean_auc_low": mean["low"],
        "mean_auc_high": mean["high"],
        "mean_auc_emotions": mean["emotions"],
    }
