"""A labelling run on a cluster, in its own process, which notes the node on which each stage's workers were started.

python -m tests.support.placed_run ADDRESS LABELS NOTES CLIP...
"""

import functools
import json
import logging
import sys
from pathlib import Path

import ray

from cluster.run_record import RunRecord
from pipeline.assets.weights import detector_weights, teacher_weights
from pipeline.labelling.crop_options import CropOptions
from pipeline.labelling.cropper import FaceCropper
from pipeline.labelling.labeller import TeacherLabeller
from pipeline.labelling.placement import LabelPlan, Placing
from pipeline.labelling.run import LabelRequest, label
from tests.support.labelling_runs import manifest_of

UTTERANCES_A_CLIP = 8


def noted(stage: str, notes: str, worker: type, *arguments, **named):
    Path(notes, f"{stage}@{ray.get_runtime_context().get_node_id()}").touch()
    return worker(*arguments, **named)


def main(address: str, labels: str, notes: str, *clips: str) -> None:
    run = LabelRequest(
        manifest=manifest_of({Path(clip).stem: clip for clip in clips}, UTTERANCES_A_CLIP),
        labels_uri=labels,
        teacher=teacher_weights("compact"),
        detector=detector_weights("mobilenet0.25"),
        cropper=functools.partial(noted, "crop", notes, FaceCropper),
        labeller=functools.partial(noted, "teacher", notes, TeacherLabeller),
    )
    placing = Placing(crop_resource="decode", teacher_resource="gpu_node")
    plan = LabelPlan(crop_workers=2, placing=placing)
    result = label(run, plan, address=address, record=RunRecord("label", CropOptions()))
    print(json.dumps(result.facts()))


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    main(*sys.argv[1:])
