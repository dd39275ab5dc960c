"""Composes published logits and wavs -> distillation set: the rows, and the run that `pipeline.labelling.run.label` makes.

The plan, the parts, the lease and the audit are those of labelling; only what makes a row differs, and what a worker is sent
of it: beside the manifest's columns the logits themselves, for the file that holds them cannot be read in any order.
"""

import functools
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import pyarrow as pa

from cluster.budget import Stage
from pipeline.dataset.manifest import as_manifest, check_manifest
from pipeline.decoding.deadline import Deadline
from pipeline.importing.published_logits import PublishedLogits
from pipeline.importing.wav_reader import DETAIL, LOGITS, REASON, TASK_SCHEMA, WavReader, as_read
from pipeline.importing.wavs import NamedWav
from pipeline.labelling.placement import LabelPlan
from pipeline.labelling.set_request import SetRequest


@dataclass(frozen=True, kw_only=True)
class ImportRequest(SetRequest):
    """A set of published labels. manifest: of `manifest_of`; named: the same rows, with their entries."""

    does: ClassVar[str] = "import"
    teacher: str
    """Name and sha256 of the file, as the rows' column has it."""
    published: PublishedLogits
    named: list[NamedWav]
    deadline: Deadline = field(default_factory=Deadline)

    @functools.cached_property
    def by_id(self) -> dict[str, NamedWav]:
        return {wav.utterance_id: wav for wav in self.named}

    def own_identity(self) -> dict[str, Any]:
        return {"teacher": self.teacher, "detector": None, "aggregation": "max", "deadline": self.deadline}

    @property
    def crop_bytes(self) -> int:
        return 0

    def to_crop(self) -> dict[str, Any]:
        return {"cropper": WavReader, "teacher": self.teacher, "deadline": self.deadline}

    def to_label(self) -> dict[str, Any]:
        return {"labeller": as_read, "teacher": None}

    def task_rows(self, utterances: pa.Table) -> pa.Table:
        wavs = [self.by_id[utterance_id] for utterance_id in utterances["utterance_id"].to_pylist()]
        logits = [b"" if wav.entry is None else self.published.of_wav(wav.entry).tobytes() for wav in wavs]
        problems = [wav.problem for wav in wavs]
        columns = {
            LOGITS: logits,
            REASON: [problem and problem.reason.value for problem in problems],
            DETAIL: [problem and problem.detail for problem in problems],
        }
        for name, values in columns.items():
            utterances = utterances.append_column(name, pa.array(values, TASK_SCHEMA.field(name).type))
        return utterances


@dataclass(frozen=True, kw_only=True)
class ImportPlan(LabelPlan):
    """How the work is distributed: `crop_workers` processes that read wavs."""

    def stages(self, croppers: int) -> list[Stage]:
        return [replace(stage, name="reading of wavs") for stage in super().stages(croppers)]

    def local_croppers(self, cores: int, memory: float | None) -> int:
        return cores


def manifest_of(named: list[NamedWav], published: PublishedLogits, said: str) -> pa.Table:
    """The rows of the set as a manifest: there is no video, so `video_uri` is the wav too.

    The split is the authors'; a wav without an entry goes where its speaker is. said: names the file in a UserError.
    """
    splits = [None if wav.entry is None else published.splits[wav.entry] for wav in named]
    unheard = {wav.speaker_id for wav, split in zip(named, splits, strict=True) if split == "unheard"}
    uris = [wav.uri for wav in named]
    columns = {
        "utterance_id": [wav.utterance_id for wav in named],
        "speaker_id": [wav.speaker_id for wav in named],
        "video_id": [wav.video_id for wav in named],
        "video_uri": uris,
        "audio_uri": uris,
        "start_s": [0.0] * len(named),
        "split": [
            split or ("unheard" if wav.speaker_id in unheard else "train")
            for wav, split in zip(named, splits, strict=True)
        ],
    }
    manifest = as_manifest(columns, said)
    check_manifest(manifest, said)
    return manifest
