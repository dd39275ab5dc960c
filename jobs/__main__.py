"""`emovox JOB ...`, the same as `python -m jobs.JOB ...`."""

import importlib
import sys

from cluster.help_output import help_to_any_reader

JOBS = {
    "index": "a folder or object-store prefix of videos -> a manifest, one row per utterance",
    "label": "manifest -> distillation set: face, teacher logits and speech of every utterance",
    "import-labels": "the authors' published logits + VoxCeleb1's wavs -> distillation set, without video",
    "verify": "distillation set -> whether each part is what was written",
    "compare-labels": "two distillation sets of the same utterances -> how their labels differ, as JSON and HTML",
    "export-labels": "distillation set -> WebDataset, Hugging Face datasets or CSV",
    "distill": "distillation set -> a speech student",
    "evaluate": "student + distillation set -> ROC-AUC for each emotion, as JSON and HTML",
    "probe": "student + labelled speech corpus -> how well its outputs tell emotions apart, next to other features",
    "transfer-benchmark": "acted speech + faces -> how much true emotion a voice network learns from the faces",
    "fit-head": "student + your own labelled recordings -> a classifier of your classes on the student's embedding",
    "export": "student -> one ONNX file, checked against the student",
    "predict": "audio or video files + student -> emotion probabilities and embeddings",
    "serve": "a student behind HTTP, and a page to talk to",
    "bench": "speed of labelling, decoding, training, starting and the plan itself, next to floors and peers",
    "plan": "utterances + nodes + measured rates -> hours, nodes, storage, cost, and the limiting stage",
    "demo": "index, label, distill, evaluate and predict on sample videos or your own clips, with a report",
    "submit": "run any of these jobs on a cluster; follow, re-attach, cancel, list",
    "train-teacher": "FER+ -> face teacher",
    "evaluate-teacher": "face teacher + FER+ -> accuracy, recall, calibration, as JSON and HTML",
    "fetch": "download the detector's weights and the sample videos into the cache",
}


def usage() -> str:
    lines = [f"  {name:<18} {what}" for name, what in JOBS.items()]
    head = ["usage: emovox JOB [options]", "", "Emotion in speech, learned from faces.", "", "jobs:"]
    return "\n".join([*head, *lines, "", "`emovox JOB --help` explains every option of a job."])


def main() -> int:
    """Runs the job named by the first argument; exit code 2 if there is no such job."""
    arguments = sys.argv[1:]
    if arguments and arguments[0] in ("-h", "--help", "help"):
        with help_to_any_reader():
            print(usage())
        return 0
    job = arguments[0].replace("_", "-") if arguments else ""
    if job not in JOBS:
        problem = f"emovox: there is no job {arguments[0]!r}\n\n" if arguments else ""
        print(problem + usage(), file=sys.stderr)
        return 2
    return importlib.import_module(f"jobs.{job.replace('-', '_')}").main(arguments[1:])


if __name__ == "__main__":
    sys.exit(main())
