"""Makes the students of the transfer benchmark one after another: set, training, scores. Finished steps are kept.

OUT/runs/rho-R_seed-S/        labels (a distillation set), student, scores.parquet (its answers for the held-out speakers)
OUT/runs/supervised_seed-S/   the same with the true emotions as labels: the ceiling
"""

import contextlib
import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import pyarrow as pa

from cluster import storage
from cluster.devices import local_device
from cluster.identity import claim
from cluster.session import session
from modeling.distillation.recipes import StudentRecipe
from modeling.emotions import EMOTIONS
from modeling.evaluation.transfer import SpeakerSplit, paired_emotions
from modeling.faces.ferplus import FaceSet
from modeling.sampling import SAMPLE_RATE_HZ
from pipeline.assets.weights import Weights
from pipeline.dataset.distillation_set import read_columns
from pipeline.distillation.run import DistillRun, distill_student
from pipeline.media.flac import decode_flac
from pipeline.schema import SET_VERSION
from pipeline.students.load import read_student
from pipeline.transfer.labels import MOST_FACES, VARIANTS, FaceBank, face_labels, true_labels, write_set
from pipeline.transfer.speech import SpeechClip

SUPERVISED = "supervised"
PAIRING_STREAM = 1  # keeps the pairing's random numbers apart from those that choose the faces

SCORE_SCHEMA = pa.schema(
    [
        ("utterance_id", pa.string()),
        ("speaker_id", pa.string()),
        ("truth", pa.string()),
        ("face", pa.string()),  # emotion of the clip's faces; null in the supervised set
        ("probabilities", pa.list_(pa.float32(), len(EMOTIONS))),
    ]
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TransferBenchmark:
    """Input and output of the benchmark. faces_uri: as the user wrote it; recipe: each run replaces its seed."""

    clips: Sequence[SpeechClip]
    faces: FaceSet
    faces_uri: str
    teacher: Weights
    recipe: StudentRecipe
    rhos: Sequence[str]
    seeds: int
    out_uri: str
    faces_per_clip: int = 4
    gpu: bool = False

    @property
    def readable(self) -> list[SpeechClip]:
        return [clip for clip in self.clips if not clip.reject_reason]

    def identity(self) -> dict:
        """What all runs share. Rhos and seeds are not included, so more can be added to a folder later."""
        return {
            "schema_version": SET_VERSION,
            "speech": speech_fingerprint(self.clips),
            "faces": self.faces.fingerprint,
            "teacher": self.teacher.fingerprint,
            "teacher_description": self.teacher.description.decode() or None,
            "faces_per_clip": self.faces_per_clip,
            "most_faces": MOST_FACES,
            "variants": VARIANTS,
            "recipe": replace(self.recipe, seed=0).as_written(),
        }


@dataclass(frozen=True)
class TransferRun:
    """One student: its pairing (rho as the user wrote it, or `SUPERVISED`), its seed and the held-out speakers."""

    rho: str
    seed: int
    split: SpeakerSplit

    @property
    def name(self) -> str:
        kind = SUPERVISED if self.rho == SUPERVISED else f"rho-{float(self.rho):g}"
        return f"{kind}_seed-{self.seed}"


def speech_fingerprint(clips: Sequence[SpeechClip]) -> str:
    """First 16 hex digits of the sha256 over names, speakers, emotions and sounds; the files' location does not matter."""
    digest = hashlib.sha256()
    for clip in clips:
        file = clip.file
        sound = hashlib.sha256(clip.speech_flac or b"").hexdigest()
        digest.update("\0".join([file.utterance_id, file.speaker_id, file.truth, sound, "\n"]).encode())
    return digest.hexdigest()[:16]


def paired_faces(clips: Sequence[SpeechClip], run: TransferRun) -> dict[str, int] | None:
    """utterance_id -> emotion of its faces. Pairing happens within each split. None for the supervised set."""
    if run.rho == SUPERVISED:
        return None
    emotions = {}
    for number, name in enumerate(("train", "val", "unheard")):
        inside = [clip.file for clip in clips if run.split.of(clip.file.speaker_id) == name]
        truth_N = np.array([EMOTIONS.index(file.truth) for file in inside], int)
        paired_N = paired_emotions(truth_N, float(run.rho), np.random.default_rng((run.seed, PAIRING_STREAM, number)))
        emotions |= {file.utterance_id: int(emotion) for file, emotion in zip(inside, paired_N, strict=True)}
    return emotions


def all_scores(
    benchmark: TransferBenchmark, runs: Sequence[TransferRun], bank: FaceBank, address: str | None
) -> dict[TransferRun, pa.Table]:
    """The scores of every run. Those of an earlier call are read; one Ray session does the rest."""
    todo = [run for run in runs if not storage.exists(_scores_uri(benchmark, run))]
    if len(todo) < len(runs):
        log.info("%d of %d runs are done already", len(runs) - len(todo), len(runs))
    for run in runs:
        if run not in todo:  # `_make` claims those in it
            _claim(benchmark, run)
    began = time.perf_counter()
    with session(address) if todo else contextlib.nullcontext():
        for k, run in enumerate(todo):
            left = (
                f"about {_minutes((time.perf_counter() - began) / k * (len(todo) - k))} left in all"
                if k
                else "first run"
            )
            what = "true labels (ceiling)" if run.rho == SUPERVISED else f"rho {run.rho}"
            log.info("[%d/%d] %s, seed %d (%s)", k + 1, len(todo), what, run.seed, left)
            _make(benchmark, run, bank, address)
    return {run: storage.read_table(_scores_uri(benchmark, run)) for run in runs}


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _make(benchmark: TransferBenchmark, run: TransferRun, bank: FaceBank, address: str | None) -> None:
    """Makes set, student and scores of one run; uses what is already there."""
    labels_uri, student_uri = (_uri(benchmark, run, name) for name in ("labels", "student"))
    clips, faces = benchmark.readable, paired_faces(benchmark.readable, run)
    _claim(benchmark, run)
    labels = (
        true_labels(speech_fingerprint(benchmark.clips))
        if faces is None
        else face_labels(
            bank, faces, faces_uri=benchmark.faces_uri, faces_per_clip=benchmark.faces_per_clip, seed=run.seed
        )
    )
    write_set(labels_uri, benchmark.clips, run.split, labels)
    recipe = replace(benchmark.recipe, seed=run.seed)
    trained = distill_student(
        DistillRun(labels_uri=labels_uri, student_uri=student_uri, recipe=recipe, gpu=benchmark.gpu), address
    )
    student = read_student(trained.checkpoint).to(local_device(benchmark.gpu))
    rows = [
        {
            "utterance_id": clip.file.utterance_id,
            "speaker_id": clip.file.speaker_id,
            "truth": clip.file.truth,
            "face": EMOTIONS[faces[clip.file.utterance_id]] if faces else None,
            "probabilities": student.predict(decode_flac(clip.speech_flac or b""), SAMPLE_RATE_HZ).numpy(),
        }
        for clip in clips
        if clip.file.speaker_id in run.split.held_out
    ]
    storage.write_table(_scores_uri(benchmark, run), pa.Table.from_pylist(rows, schema=SCORE_SCHEMA))


def _uri(benchmark: TransferBenchmark, run: TransferRun, name: str) -> str:
    return storage.join(benchmark.out_uri, "runs", run.name, name)


def _scores_uri(benchmark: TransferBenchmark, run: TransferRun) -> str:
    return _uri(benchmark, run, "scores.parquet")


def _claim(benchmark: TransferBenchmark, run: TransferRun) -> None:
    """Claims the run's folder. Raises UserError if it holds another pairing or other held-out speakers."""
    pairing = {"rho": run.rho if run.rho == SUPERVISED else float(run.rho), "seed": run.seed, **asdict(run.split)}
    identity = benchmark.identity()
    identity.pop("recipe")  # the set does not depend on it
    claim(_uri(benchmark, run, "labels"), identity | pairing)


def labels_right(benchmark: TransferBenchmark, run: TransferRun) -> float:
    """Share of the training clips whose label has the voice's true emotion as its dominant one."""
    truth = {clip.file.utterance_id: clip.file.truth for clip in benchmark.readable}
    rows = read_columns(_uri(benchmark, run, "labels"), ["utterance_id", "split", "emotion"]).to_pylist()
    return float(
        np.mean(
            [row["emotion"] == truth[row["utterance_id"]] for row in rows if row["split"] == "train" and row["emotion"]]
        )
    )
