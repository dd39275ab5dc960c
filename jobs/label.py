"""Manifest -> distillation set."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.failures import UserError
from cluster.run_record import RunRecord
from modeling.teachers.load import DEFAULT_TEACHER
from pipeline.assets.weights import DEFAULT_DETECTOR, detector_weights, teacher_weights
from pipeline.dataset.manifest import read_manifest
from pipeline.labelling.cropper import CropOptions
from pipeline.labelling.placement import LabelPlan, Placing
from pipeline.labelling.retry_rejects import checked_reasons
from pipeline.labelling.run import LabelRequest
from pipeline.labelling.run import label as label_utterances

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Label(JobOptions):
    """Turns each utterance of a manifest into one row of a distillation set: the teacher's logits for the speaker's face
    and the speech that goes with it, or the reason why it is set aside.

    Started again with the same options it goes on where it stopped; with others it refuses to mix.
    """

    manifest: str
    """Manifest written by `emovox index`, a path or s3:// URI."""
    out: str
    """Folder or s3:// prefix of the distillation set, new or from the same run."""
    teacher: str = DEFAULT_TEACHER
    """Face-emotion network: `compact` (comes with the project), `senet50_ferplus` or `resnet50_ferplus` (the authors', from
    their address), or a file of one of these, or ONNX or TorchScript with a description beside it (FILE.json). Path, s3://
    or http URI."""
    teacher_sha256: str | None = None
    """sha256 that the teacher's file must have."""
    trust_teacher: bool = False
    """Load a TorchScript teacher, which is a program, without its hash."""
    detector: str = DEFAULT_DETECTOR
    """Face detector: `mobilenet0.25` (fetched from a package once), `resnet50` (retinaface-pytorch's own, from the address it
    names or torch's hub cache), or weights of one of them (of the second if the file's name holds `resnet50`)."""
    mirror: bool = False
    """Give the teacher every face and its mirror image and take the mean, where the teacher was made for that: a quarter of a
    point better on single FER+ faces, twice the teacher's work. An utterance has dozens of faces."""
    retry_rejects: list[str] = field(default_factory=list)
    """Instead of what is missing, label the rejects of these reasons again (`all`: of every reason), for example after files
    were repaired or a storage came back; the options are those of the run, but --crops.deadline may be another."""
    crops: CropOptions = field(default_factory=CropOptions)
    crop_workers: int | None = None
    """Processes that decode, detect and crop; left out: one a core here, as far as memory goes (1.25 GiB each), on a cluster
    as many as its nodes hold (beside the teacher's, if it has some)."""
    teacher_workers: int | None = None
    """Processes of the teacher's own. Left out: one where a GPU or --placing.teacher-... is asked for, otherwise none: the
    teacher works in the cropping processes, and so grows with the cores."""
    gpus_per_teacher: float = 0.0
    """GPUs of each teacher process, a fraction to share one; 0: CPU."""
    gpus_per_cropper: float = 0.0
    """GPUs of each cropping process, for the detector; 0: CPU."""
    placing: Placing = field(default_factory=Placing)

    def __post_init__(self):
        for name in ("crop_workers", "teacher_workers"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; give 1 or more, or leave it out")
        for name in ("gpus_per_teacher", "gpus_per_cropper"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; give 0 or more")


def label(options: Label, record: RunRecord) -> dict[str, Any]:
    retry_reasons = checked_reasons(options.retry_rejects)
    with record.stage("prepare"):
        storage.require_writable(options.out)
        version = storage.version(options.manifest) if storage.exists(options.manifest) else ""
        request = LabelRequest(
            manifest=read_manifest(options.manifest),
            labels_uri=storage.absolute(options.out),
            teacher=teacher_weights(options.teacher, options.teacher_sha256, trusted=options.trust_teacher),
            detector=detector_weights(options.detector),
            crop_options=options.crops,
            mirror=options.mirror,
            retry_reasons=retry_reasons,
        )
        record.inputs |= request.identity
    plan = LabelPlan(
        crop_workers=options.crop_workers,
        teacher_workers=options.teacher_workers,
        gpus_per_teacher=options.gpus_per_teacher,
        gpus_per_cropper=options.gpus_per_cropper,
        placing=options.placing,
    )
    with record.stage("label"):
        result = label_utterances(request, plan, address=options.address, record=record)
    facts = result.facts()
    if _manifest_changed(options.manifest, version):
        facts["manifest_changed"] = True
    record.counts |= facts
    record.write_into(request.labels_uri)
    return facts | {"labels": request.labels_uri, "seconds": round(record.seconds(), 3)}


def _manifest_changed(manifest: str, version: str) -> bool:
    """Whether the manifest's file is not the one that was read any more; if so, a warning says which one the labels are of."""
    try:
        if storage.version(manifest) == version:
            return False
        what = "was written again"
    except UserError as error:
        what = f"cannot be read any more ({error})"
    log.warning("%s %s while this run worked; the labels are those of the manifest that it read", manifest, what)
    return True


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("label", Label, label, argv)


if __name__ == "__main__":
    sys.exit(main())
