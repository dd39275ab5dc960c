"""Labelling runs in this process: a manifest of a few files, the run, and the rows that it wrote."""

import pyarrow as pa

from cluster.run_record import RunRecord
from pipeline.assets.weights import detector_weights, teacher_weights
from pipeline.dataset import distillation_set
from pipeline.dataset.manifest import as_manifest
from pipeline.labelling.crop_options import CropOptions
from pipeline.labelling.run import LabelPlan, LabelRequest, label
from pipeline.schema import DISTILLATION_SCHEMA


def manifest_of(files: dict[str, str], utterances: int = 1) -> pa.Table:
    """utterance name -> file; each file gives `utterances` rows of one second, or one whole row."""
    rows = [
        (f"{name}#{k}", uri, float(k), None if utterances == 1 else k + 1.0)
        for name, uri in files.items()
        for k in range(utterances)
    ]
    ids, uris, starts, ends = zip(*rows, strict=True)
    columns = {"utterance_id": ids, "speaker_id": ids, "video_id": uris, "video_uri": uris, "audio_uri": uris}
    return as_manifest({**columns, "start_s": starts, "end_s": ends, "split": ["train"] * len(rows)}, "test")


def run_of(manifest: pa.Table, out, **crops) -> LabelRequest:
    return LabelRequest(
        manifest=manifest,
        labels_uri=str(out),
        teacher=teacher_weights("compact"),
        detector=detector_weights("mobilenet0.25"),
        crop_options=CropOptions(**crops),
    )


def labelled_by(run: LabelRequest, **plan) -> dict:
    record = RunRecord("label", run.crop_options)
    return label(run, LabelPlan(crop_workers=1, **plan), address=None, record=record).facts()


def read_rows(run: LabelRequest) -> list[dict]:
    return distillation_set.read_labels(run.labels_uri, DISTILLATION_SCHEMA.names).to_pylist()
