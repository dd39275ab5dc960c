"""A labelling run with the real plan and sizes, but no media: python -m tests.support.memory_run VIDEOS LABELS"""

import os
import sys
from collections.abc import Iterator

import pyarrow as pa

from cluster.run_record import RunRecord
from pipeline.assets.weights import Weights, teacher_weights
from pipeline.benches.scale import CheapCropper, CheapLabeller, made_up_manifest
from pipeline.labelling.crop_options import CropOptions
from pipeline.labelling.cropper import ROWS_HANDED_OUT
from pipeline.labelling.placement import LabelPlan
from pipeline.labelling.run import LabelRequest, label

CROPS_BYTES, SPEECH_BYTES = 33 * 48 * 48, 100_000
"""Bytes of an utterance of 8 s on its way through the plan."""


class SizedCropper(CheapCropper):
    def __call__(self, utterances: pa.Table) -> Iterator[pa.Table]:
        for start in range(0, len(utterances), ROWS_HANDED_OUT):
            for rows in super().__call__(utterances.slice(start, ROWS_HANDED_OUT)):
                yield _filled(_filled(rows, "crops", CROPS_BYTES), "speech_flac", SPEECH_BYTES)


def _filled(rows: pa.Table, name: str, size: int) -> pa.Table:
    column = pa.array([os.urandom(size) for _ in range(len(rows))], rows.schema.field(name).type)
    return rows.set_column(rows.schema.get_field_index(name), rows.schema.field(name), column)


def main(videos: int, labels: str) -> None:
    manifest = made_up_manifest(videos, utterances_a_video=1)
    run = LabelRequest(
        manifest=manifest,
        labels_uri=labels,
        teacher=teacher_weights("compact"),
        detector=Weights("none", b""),
        cropper=SizedCropper,
        labeller=CheapLabeller,
    )
    record = RunRecord("label", CropOptions())
    assert label(run, LabelPlan(teacher_workers=1), address=None, record=record).whole_set.labelled == videos


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
