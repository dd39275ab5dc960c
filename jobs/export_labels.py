"""Distillation set -> files for other programs: tar shards for WebDataset, parquet for Hugging Face datasets, or CSV."""

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.failures import UserError
from cluster.run_record import RunRecord


@dataclass(frozen=True, kw_only=True)
class ExportLabels(JobOptions):
    """Writes the labelled utterances of a distillation set in a form that other programs read. webdataset: tar files with the
    speech as FLAC and the labels as JSON. huggingface: parquet files with the speech as a column of type Audio, and a dataset
    card. csv: a table without speech. Rejects are left out, and counted.

    Parts are read one after the other, so that memory does not grow with the set. Each file is written in one go: give the
    command again after a stop, and it writes those that are missing. Runs in this process, without Ray.
    """

    labels: str
    """Output folder of `emovox label`; a path or s3:// URI."""
    format: Literal["webdataset", "huggingface", "csv"]
    """Form of the export."""
    out: str
    """Folder or s3:// prefix to write into."""
    temperature: float = 1.0
    """The probabilities are the softmax of the logits divided by this; students are trained at 2."""
    shard_minutes: float = 50.0
    """Most minutes of speech in a file with sound. 50 take about 50 MB on storage, and twice that in memory for each split."""

    def __post_init__(self):
        if not (math.isfinite(self.temperature) and self.temperature > 0):
            raise UserError(f"--temperature {self.temperature}: give a number above 0")
        if not (math.isfinite(self.shard_minutes) and self.shard_minutes > 0):
            raise UserError(f"--shard-minutes {self.shard_minutes}: give a number above 0")


def export_labels(options: ExportLabels, record: RunRecord) -> dict:
    from modeling.sampling import SAMPLE_RATE_HZ
    from pipeline.dataset.label_set import read_label_set
    from pipeline.label_export.formats import form_of
    from pipeline.label_export.run import export_labels as export

    labels_uri, out_uri = storage.absolute(options.labels), storage.absolute(options.out)
    storage.require_writable(out_uri)
    form = form_of(options.format, max(1, round(60 * options.shard_minutes * SAMPLE_RATE_HZ)))
    with record.stage("read"):
        labels = read_label_set(labels_uri)
    decides: dict[str, object] = {"format": options.format}
    decides |= {"shard_minutes": options.shard_minutes} if form.layout.with_sound else {}
    with record.stage("export"):
        result = export(labels, form, out_uri, options=decides, temperature=options.temperature)
    found = asdict(result.counts) | {"files": result.files, "written": result.written}
    record.inputs |= {"teachers": labels.teachers}
    record.counts |= found
    record.write_into(out_uri)
    return found | {"out": out_uri, "seconds": round(record.seconds(), 3)}


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("export-labels", ExportLabels, export_labels, argv)


if __name__ == "__main__":
    sys.exit(main())
