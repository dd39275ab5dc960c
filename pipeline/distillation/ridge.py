"""Trains a linear student on Whisper in one pass over a distillation set: sums over its windows, then one solution.

OUT/student.safetensors     the head, and which front end it stands on
OUT/front_end.safetensors   where that front end came from a file of the user's
"""

import io
from dataclasses import dataclass

import torch

from cluster import storage
from cluster.cluster_address import ray_is_named
from cluster.failures import UserError
from cluster.identity import claim, read_identity
from cluster.lease import lease
from modeling.distillation.recipes import RidgeRecipe
from modeling.distillation.ridge import LinearHead, LinearSums
from modeling.speech.whisper import WhisperEncoder
from modeling.speech.whisper_files import cut_file, read_encoder
from modeling.students.build import WhisperStudent
from modeling.students.checkpoint import save_student
from pipeline.assets.front_ends import keep_front_end, published_front_end
from pipeline.distillation.batches import LabelIndex
from pipeline.distillation.validation import ValidationSet
from pipeline.distillation.window_sums import WindowSums, part_groups, sums_of_groups
from pipeline.students.files import STUDENT_FILE
from pipeline.students.load import FRONT_END_FILE

IN_PROCESS_UTTERANCES = 2000
"""Up to so many utterances are read in this process: a minute or two on two cores, and Ray takes 15 s to start."""

MOST_SPEAKERS = 10_000
"""Of the names that the student's file keeps, by which `probe` knows a corpus whose speakers it has heard."""


@dataclass(frozen=True, kw_only=True)
class RidgeRun:
    """One training in closed form. front_end_uri: a file of Whisper's weights; None: from its package.

    ambiguous: learn also from utterances in which another face was nearly as prominent as the labelled one.
    """

    labels_uri: str
    student_uri: str
    recipe: RidgeRecipe
    front_end_uri: str | None = None
    ambiguous: bool = False

    def front_end(self) -> WhisperEncoder:
        config = self.recipe.student
        if self.front_end_uri is None:
            return published_front_end(config)
        try:
            return read_encoder(storage.read_bytes(self.front_end_uri), config.front_end, config.layers)
        except ValueError as error:
            raise UserError(f"--front-end {self.front_end_uri}: {error}") from error

    def identity(self) -> dict:
        """What decides the student, the front end's weights aside."""
        recipe = self.recipe.as_written()
        return {"labels": read_identity(self.labels_uri), "recipe": recipe, "ambiguous": self.ambiguous}


@dataclass(frozen=True, kw_only=True)
class LinearStudent:
    """What a training in closed form wrote and measured; utterances, speakers and windows are those it learned from.

    ambiguous: utterances left out because another face was nearly as prominent. explained: as `LinearHead` has it.
    """

    checkpoint: str
    utterances: int
    ambiguous: int
    speakers: int
    windows: int
    speech_s: float
    explained: float
    val_utterances: int
    val_mean_auc: float | None
    prior: list[float]
    prior_strength: float
    front_end_sha256: str


def distill_linear(run: RidgeRun, address: str | None = None) -> LinearStudent:
    """Raises UserError if the set or the front end does not fit, or another run writes into the folder."""
    index = LabelIndex(run.labels_uri, ambiguous=run.ambiguous)
    rows = index.training()
    front_end = run.front_end()
    sha256 = front_end.fingerprint()
    student = WhisperStudent(run.recipe.student, front_end)
    with lease(run.student_uri) as held:
        identity = run.identity() | {"front_end": sha256, "utterances": index.fingerprint()}
        claim(run.student_uri, identity)
        windows = WindowSums(student, run.recipe.target_pooling, run.ambiguous)
        groups = part_groups(index.parts, rows["part"].to_numpy())
        on_ray = ray_is_named(address) or len(rows) > IN_PROCESS_UTTERANCES
        found = sums_of_groups(windows, groups, on_ray=on_ray, address=address)
        head = _solved(found.sums, run.recipe.penalty)
        _put(student, head)
        validation = ValidationSet(index, head.prior_E)
        scores = validation.score(student)
        meta = {"prior": head.prior_E.tolist(), "prior_strength": scores["prior_strength"]}
        meta |= {"speakers": sorted(found.sums.speakers)[:MOST_SPEAKERS]}
        meta |= {"val_mean_auc": scores["val_mean_auc"], "explained": head.explained, **identity}
        file = io.BytesIO()
        save_student(student, file, meta)
        held.confirm()
        storage.write_bytes(storage.join(run.student_uri, STUDENT_FILE), file.getvalue())
        if run.front_end_uri is not None:
            content = cut_file(front_end, run.recipe.student.front_end)
            storage.write_bytes(storage.join(run.student_uri, FRONT_END_FILE), content)
    if run.front_end_uri is None:
        keep_front_end(front_end, run.recipe.student)
    return LinearStudent(
        checkpoint=storage.join(run.student_uri, STUDENT_FILE),
        utterances=found.utterances,
        ambiguous=index.left_out(),
        speakers=len(found.sums.speakers),
        windows=found.sums.windows,
        speech_s=found.speech_s,
        explained=head.explained,
        val_utterances=len(validation),
        val_mean_auc=scores["val_mean_auc"],
        prior=meta["prior"],
        prior_strength=meta["prior_strength"],
        front_end_sha256=sha256,
    )


def _solved(sums: LinearSums, penalty: float) -> LinearHead:
    try:
        return sums.solve(penalty)
    except ValueError as error:
        raise UserError(str(error)) from error


def _put(student: WhisperStudent, head: LinearHead) -> None:
    with torch.no_grad():
        student.classifier.weight.copy_(torch.from_numpy(head.weight_EF))
        student.classifier.bias.copy_(torch.from_numpy(head.bias_E))
