"""Students' answers on a distillation set: in this process where they are few, on Ray where they are many or Ray is named.

Both ways give the same numbers: each clip is computed by itself, on one thread.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from cluster.cluster_address import ray_is_named
from cluster.cores import local_cores
from cluster.failures import UserError
from cluster.progress import progress
from modeling.sampling import SAMPLE_RATE_HZ
from modeling.students.build import Student
from modeling.students.prior import corrected
from modeling.threads import torch_threads
from pipeline.dataset.distillation_set import read_labels, set_parts
from pipeline.dataset.resting_faces import resting_faces, without_resting_faces
from pipeline.dataset.utterances import USABLE, usable_rows
from pipeline.evaluation.scores import EIGHT, LABEL_COLUMNS, SCORE_SCHEMA, matrix
from pipeline.media.flac import decode_flac
from pipeline.students.load import student_meta

FEW_ANSWERS = 5_000
"""Up to so many, of all students together, are computed here: three minutes of a core with the shipped student."""

ROWS_PER_BATCH = 16
SCORED_COLUMNS = [*LABEL_COLUMNS, "speech_flac"]


class StudentScorer:
    """Callable: rows with `SCORED_COLUMNS` -> for each student, a row with its softmax over the whole clip."""

    def __init__(self, students: dict[str, Student]):
        self.students = students

    def __call__(self, rows: pa.Table) -> pa.Table:
        clips = [torch.from_numpy(decode_flac(flac)) for flac in rows["speech_flac"].to_pylist()]
        labels, parts = rows.select(LABEL_COLUMNS), []
        for name, student in self.students.items():
            probabilities = [student.predict(clip, SAMPLE_RATE_HZ).tolist() for clip in clips]
            part = labels.append_column("student", pa.array([name] * len(clips)))
            parts.append(part.append_column("probabilities", pa.array(probabilities, pa.list_(pa.float32()))))
        return pa.concat_tables(parts)


def score_students(
    students: dict[str, Student], labels_uri: str, address: str | None, *, speaker_baseline: bool = False
) -> dict[str, pa.Table]:
    """Every student's probabilities for every labelled utterance that has speech; a table of `SCORE_SCHEMA` each, all
    with the same utterances in the same order. speaker_baseline: the teacher's columns are without the speakers' resting faces.

    Raises UserError where a student gives NaN, naming the utterance.
    """
    utterances = len(scorable(labels_uri))
    with progress(utterances, "evaluate", "utterances") as bar:
        batches: list[pa.Table] = []
        for batch in _answers(students, labels_uri, utterances, address):
            batches.append(batch)
            bar.update(len(batch) // len(students))
    rows = pa.concat_tables(batches).sort_by("utterance_id")
    scores = {name: _scores(student, rows.filter(pc.field("student") == name)) for name, student in students.items()}
    if not speaker_baseline:
        return scores
    baseline = resting_faces(next(iter(scores.values())))  # the same labels stand beside each student's answers
    return {name: without_resting_faces(table, baseline) for name, table in scores.items()}


def _answers(students: dict[str, Student], labels_uri: str, utterances: int, address: str | None) -> Iterator[pa.Table]:
    if not ray_is_named(address) and utterances * len(students) <= FEW_ANSWERS:
        return answers_here(students, labels_uri)
    from pipeline.evaluation.answers_on_ray import answers_on_ray  # a small set is scored before Ray has been imported

    return answers_on_ray(students, labels_uri, utterances, address)


def answers_here(students: dict[str, Student], labels_uri: str) -> Iterator[pa.Table]:
    """What `StudentScorer` gives for each batch of the set, part by part, with a thread on each core."""
    score = StudentScorer(students)
    with torch_threads(1), ThreadPoolExecutor(local_cores()) as pool:
        for part in set_parts(labels_uri):
            rows = usable_rows(part, SCORED_COLUMNS)
            yield from pool.map(score, [rows.slice(at, ROWS_PER_BATCH) for at in range(0, len(rows), ROWS_PER_BATCH)])


def scorable(labels_uri: str) -> pa.Table:
    """The columns split and teacher of the utterances that can be scored.

    Raises UserError if there are none, if several teachers labelled them, or if the set has another schema version.
    """
    table = read_labels(labels_uri, ["split", "teacher", "reject_reason", "speech_samples"]).filter(USABLE)
    if not len(table):
        raise UserError(f"{labels_uri}: no labelled utterance has speech; there is nothing to evaluate on")
    teachers = pc.unique(table["teacher"]).to_pylist()
    if len(teachers) > 1:
        raise UserError(
            f"{labels_uri}: labels of several teachers {teachers} are mixed; label again into an empty folder"
        )
    return table.select(["split", "teacher"])


def _scores(student: Student, rows: pa.Table) -> pa.Table:
    """One student's rows with `SCORE_SCHEMA`."""
    probabilities_NE = matrix(rows, "probabilities")
    broken = np.flatnonzero(~np.isfinite(probabilities_NE).all(axis=1))
    if len(broken):
        raise UserError(
            f"{rows['student'][0]}: NaN for utterance {rows['utterance_id'][int(broken[0])]} "
            f"({len(broken)} of {len(rows)} utterances); if it is all of them, the student is broken: train it again; "
            "otherwise label again without those utterances"
        )
    corrected_N = pa.nulls(len(rows), EIGHT)
    if (prior_E := student_meta(student).get("prior")) is not None:
        strength = student_meta(student).get("prior_strength", 1.0)
        corrected_N = pa.array(corrected(probabilities_NE, np.array(prior_E), strength).tolist(), EIGHT)
    return rows.append_column("corrected", corrected_N).select(SCORE_SCHEMA.names).cast(SCORE_SCHEMA)
