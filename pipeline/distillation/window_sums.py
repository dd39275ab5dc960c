"""Sums over the windows of a distillation set, for a student in closed form: in one pass, in this process or on Ray's workers.

The parts are taken in groups, and the sums of the groups are added in the order of the parts: both ways give the same sums, up
to the rounding of another number of threads. Shape letters: T samples at 16 kHz, N windows, F features, K labelled frames, E = 8.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from cluster.progress import progress
from modeling.distillation.ridge import LinearSums
from modeling.distillation.targets import frame_span, pool_logits
from modeling.sampling import SAMPLE_RATE_HZ
from modeling.students.base import MAX_SAMPLES, MIN_SAMPLES
from modeling.students.build import WhisperStudent
from pipeline.dataset.part_file import read_part_file
from pipeline.dataset.set_record import Part
from pipeline.dataset.utterances import OF_ONE_FACE, USABLE
from pipeline.media.flac import decode_flac

GROUP_UTTERANCES = 256
COLUMNS = [
    "speaker_id",
    "split",
    "reject_reason",
    "face_is_ambiguous",
    "speech_samples",
    "speech_flac",
    "frame_indices",
    "frame_logits",
]


@dataclass
class GroupSums:
    """Of the windows of some utterances; speech_s: seconds of those utterances."""

    sums: LinearSums
    utterances: int = 0
    speech_s: float = 0.0

    def merge(self, other: "GroupSums") -> None:
        self.sums.merge(other.sums)
        self.utterances += other.utterances
        self.speech_s += other.speech_s


@dataclass(frozen=True)
class WindowSums:
    """Parts of a set -> sums over their windows. pooling: of the frame logits of a window; ambiguous: as for `learnable`."""

    student: WhisperStudent
    pooling: str
    ambiguous: bool

    def of_parts(self, parts: Iterable[Part]) -> GroupSums:
        found = GroupSums(LinearSums())
        for part in parts:
            rows = read_part_file(part.uri, COLUMNS, seal=part.seal).table
            for row in learnable(rows, self.ambiguous).to_pylist():
                features_NF, targets_NE = self._windows(row)
                if len(features_NF):
                    found.sums.add(row["speaker_id"], features_NF, targets_NE)
                found.utterances += 1
                found.speech_s += row["speech_samples"] / SAMPLE_RATE_HZ
        return found

    def _windows(self, row: dict) -> tuple[np.ndarray, np.ndarray]:
        """Features and targets of the windows of an utterance that hold a labelled frame."""
        frame_indices_K, frame_logits_KE = np.array(row["frame_indices"]), np.array(row["frame_logits"])
        features: list[np.ndarray] = []
        targets: list[np.ndarray] = []
        for start_s, features_F in self._features(decode_flac(row["speech_flac"])):
            first, last = frame_span(start_s, start_s + self.student.whisper.window_s)
            target_E = pool_logits(frame_logits_KE, frame_indices_K, first, last, how=self.pooling)
            if target_E is not None:
                features.append(features_F)
                targets.append(target_E)
        return np.array(features), np.array(targets)

    def _features(self, speech_T: np.ndarray) -> Iterator[tuple[float, np.ndarray]]:
        """Start of each window and its features; a longer utterance is heard in spans of 10 s, as students hear files."""
        for start in range(0, len(speech_T), MAX_SAMPLES):
            span_T = torch.from_numpy(speech_T[start : start + MAX_SAMPLES])
            if len(span_T) < MIN_SAMPLES:
                continue
            with torch.no_grad():
                windows_NF = self.student.window_features(self.student.spectrogram(span_T[None]))[0].numpy()
            for number, features_F in enumerate(windows_NF):
                yield start / SAMPLE_RATE_HZ + number * self.student.whisper.hop_s, features_F


def learnable(rows: pa.Table, ambiguous: bool) -> pa.Table:
    """The rows that a student learns from. ambiguous: also those in which another face was nearly as prominent."""
    of_split = USABLE & (pc.field("split") == "train")
    return rows.filter(of_split if ambiguous else of_split & OF_ONE_FACE)


def part_groups(parts: tuple[Part, ...], part_N: np.ndarray) -> list[list[Part]]:
    """The parts that hold the utterances, in order, in groups of some hundred utterances. part_N: part of each."""
    groups: list[list[Part]] = [[]]
    held = 0
    for part, count in zip(*np.unique(part_N, return_counts=True), strict=True):
        if held >= GROUP_UTTERANCES:
            groups.append([])
            held = 0
        groups[-1].append(parts[part])
        held += count
    return groups


def sums_of_groups(windows: WindowSums, groups: list[list[Part]], *, on_ray: bool, address: str | None) -> GroupSums:
    """Of all groups together."""
    sums_of = map(windows.of_parts, groups)
    if on_ray:
        from pipeline.distillation.window_sums_on_ray import sums_on_ray  # imports Ray, which a small set does without

        sums_of = sums_on_ray(windows, groups, address)
    total = GroupSums(LinearSums())
    with progress(len(groups), "distill", "groups of parts") as bar:
        for found in sums_of:
            total.merge(found)
            bar.update()
    return total
