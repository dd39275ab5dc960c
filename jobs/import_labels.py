"""Published logits and wavs -> distillation set."""

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.failures import UserError
from cluster.run_record import RunRecord
from pipeline.decoding.deadline import Deadline


@dataclass(frozen=True, kw_only=True)
class ImportLabels(JobOptions):
    """Makes a distillation set of the logits that the authors of the paper published for VoxCeleb1, and of its wavs: no video,
    no face detector and no teacher are needed.

    Each wav becomes one row, labelled or rejected with a reason. The split is the authors': their set 1 is train, 2 unheard,
    3 heard. The same command continues where it stopped.
    """

    logits: str
    """senet50-ferplus-logits.mat, a MAT file of version 5 or 7.3; a path or s3:// URI."""
    speech: str
    """Folder or s3:// prefix with VoxCeleb1's wavs: id10001/VIDEO/00001.wav, or A.J._Buckley/VIDEO_0000001.wav."""
    out: str
    """Folder or s3:// prefix for the distillation set: new, or of the same run."""
    meta: str | None = None
    """VoxCeleb1's vox1_meta.csv, which is needed where the logits name speakers and the folders have ids, or the other way
    round. Default: the one below --speech, if there is one."""
    teacher: str = "senet50_ferplus"
    """Name of the network that gave the logits, for the set's column `teacher`."""
    retry_rejects: list[str] = field(default_factory=list)
    """Make the rejects with these reasons again (`all`: with any reason), for example `no_wav` after a wav was put where the
    logits name it."""
    deadline: Deadline = field(default_factory=Deadline)
    workers: int | None = None
    """Processes that read wavs. Default: one per core, here or on the cluster."""

    def __post_init__(self):
        if self.workers is not None and self.workers < 1:
            raise UserError(f"workers is {self.workers}; give 1 or more, or leave it out")
        if not self.teacher or "@" in self.teacher:
            raise UserError(f"teacher is {self.teacher!r}; give a name without @")


def import_labels(options: ImportLabels, record: RunRecord) -> dict[str, Any]:
    from pipeline.importing.published_logits import published_logits
    from pipeline.importing.run import ImportPlan, ImportRequest, manifest_of
    from pipeline.importing.wavs import named_wavs
    from pipeline.labelling.retry_rejects import checked_reasons
    from pipeline.labelling.run import label

    retry_reasons = checked_reasons(options.retry_rejects)
    storage.require_writable(options.out)
    labels_uri = storage.absolute(options.out)
    with contextlib.ExitStack() as reading:
        with record.stage("prepare"):
            published = reading.enter_context(published_logits(options.logits))
            named = named_wavs(published.names, options.speech, options.meta)
            request = ImportRequest(
                manifest=manifest_of(named, published, options.logits),
                labels_uri=labels_uri,
                teacher=f"{options.teacher} (published logits)@{published.sha256}",
                published=published,
                named=named,
                deadline=options.deadline,
                retry_reasons=retry_reasons,
            )
            record.inputs |= request.identity
        with record.stage("import"):
            result = label(request, ImportPlan(crop_workers=options.workers), address=options.address, record=record)
    record.counts |= result.facts()
    record.write_into(labels_uri)
    return result.facts() | {"labels": labels_uri, "seconds": round(record.seconds(), 3)}


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("import-labels", ImportLabels, import_labels, argv)


if __name__ == "__main__":
    sys.exit(main())
