"""Which utterances go into which file of an export. It is fixed before the first is written, by the set and the options alone,
so that an export that was stopped goes on with the files that are missing.

Shape letters: N utterances that are exported, S files.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from cluster.failures import UserError
from modeling.emotions import EMOTIONS
from pipeline.dataset.label_set import LabelSet
from pipeline.schema import SPLITS


@dataclass(frozen=True)
class Layout:
    """How a form of export is cut into files. name: with the fields split, number and of; most: samples of speech in a file, or
    rows in one of `with_sound` False; by_split: no file holds two splits."""

    name: str
    most: int
    with_sound: bool
    by_split: bool


@dataclass(frozen=True)
class ExportCounts:
    """without_speech: labelled utterances that have none, and are left out of forms with sound; emotions: by split and
    dominant emotion, of those that are exported."""

    exported: int
    rejected: int
    without_speech: int
    reasons: dict[str, int]
    emotions: dict[str, dict[str, int]]


@dataclass(frozen=True)
class ExportPlan:
    """files: names in the order in which they are begun; part_N, row_N: where each utterance is stored, in the order of reading;
    file_N: which file it goes into."""

    files: tuple[str, ...]
    part_N: np.ndarray
    row_N: np.ndarray
    file_N: np.ndarray

    def rows_of_files(self) -> np.ndarray:
        """(S,)"""
        return np.bincount(self.file_N, minlength=len(self.files))

    def by_part(self, wanted_S: np.ndarray) -> Iterator[tuple[int, dict[int, np.ndarray]]]:
        """Each part that has utterances of the wanted files: its number, and the rows for each of them."""
        kept_N = wanted_S[self.file_N]
        part_N, row_N, file_N = self.part_N[kept_N], self.row_N[kept_N], self.file_N[kept_N]
        numbers, starts = np.unique(part_N, return_index=True)
        for part, rows, files in zip(
            numbers.tolist(), np.split(row_N, starts[1:]), np.split(file_N, starts[1:]), strict=True
        ):
            yield part, {file: rows[files == file] for file in np.unique(files).tolist()}


def plan_export(labels: LabelSet, layout: Layout) -> tuple[ExportPlan, ExportCounts]:
    """Raises UserError if there is nothing to export."""
    labelled_N = labels.labelled_N
    samples_N = labels.table["speech_samples"].fill_null(0).to_numpy()
    chosen_N = labelled_N & (samples_N > 0) if layout.with_sound else labelled_N
    counts = _counts(labels, chosen_N, int((labelled_N & ~chosen_N).sum()))
    if not counts.exported:
        raise UserError(
            f"{labels.uri}: nothing to export: {counts.rejected} of {len(labels)} utterances are rejects, and "
            f"{counts.without_speech} have no speech"
        )
    places = labels.table.select(["part", "row"]).filter(chosen_N)
    part_N, row_N = (places[name].to_numpy() for name in ("part", "row"))
    split_N, samples_N = _splits(labels)[chosen_N], samples_N[chosen_N]
    order_N = np.lexsort((row_N, part_N))
    part_N, row_N, split_N, samples_N = (values[order_N] for values in (part_N, row_N, split_N, samples_N))
    file_N, names = np.zeros(len(part_N), np.int32), list[str]()
    for k, split in enumerate(SPLITS if layout.by_split else ("",)):
        own_N = np.flatnonzero(split_N == k) if layout.by_split else np.arange(len(part_N))
        taken_N = np.cumsum(samples_N[own_N] if layout.with_sound else np.ones(len(own_N), np.int64), dtype=np.int64)
        number_N = np.unique((taken_N - 1) // layout.most, return_inverse=True)[1]
        files = int(number_N.max()) + 1 if len(own_N) else 0
        file_N[own_N] = len(names) + number_N
        names += [layout.name.format(split=split, number=n, of=files) for n in range(files)]
    return ExportPlan(tuple(names), part_N, row_N, file_N), counts


def _splits(labels: LabelSet) -> np.ndarray:
    """Index in SPLITS."""
    column = labels.table["split"].combine_chunks()
    return np.array([SPLITS.index(name) for name in column.dictionary.to_pylist()])[column.indices.to_numpy()]


def _counts(labels: LabelSet, chosen_N: np.ndarray, without_speech: int) -> ExportCounts:
    rejected = labels.table["reject_reason"].combine_chunks().drop_null()
    reasons = {item["values"]: item["counts"] for item in rejected.value_counts().to_pylist()}
    cells_N = _splits(labels)[chosen_N] * len(EMOTIONS) + labels.logits_NE[chosen_N].argmax(1)
    counts = np.bincount(cells_N, minlength=len(SPLITS) * len(EMOTIONS)).reshape(len(SPLITS), -1)
    emotions: dict[str, dict[str, int]] = {
        split: {emotion: int(n) for emotion, n in zip(EMOTIONS, of_split.tolist(), strict=True)}
        for split, of_split in zip(SPLITS, counts, strict=True)
        if of_split.sum()
    }
    return ExportCounts(int(chosen_N.sum()), len(rejected), without_speech, dict(sorted(reasons.items())), emotions)


def set_fingerprint(labels: LabelSet) -> str:
    """Of what is in the set: names and hashes of its parts, and its logits."""
    digest = hashlib.sha256("\n".join(f"{part.name} {part.seal}" for part in labels.parts).encode())
    digest.update(labels.logits_NE.tobytes())
    return digest.hexdigest()
