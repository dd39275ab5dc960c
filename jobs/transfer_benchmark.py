"""Acted speech + faces -> how much of the emotion in the voice a student learns from the faces."""

import dataclasses
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.failures import UserError
from cluster.run_record import RunRecord, installed_versions
from modeling.distillation.recipes import RECIPES_WITHOUT_FRONT_END, STUDENT_RECIPES
from modeling.teachers.catalogue import DEFAULT_TEACHER
from pipeline.corpora.ferplus_csv import read_speech_csv
from pipeline.reports.facts import ReportFacts

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TransferBenchmarkOptions(JobOptions):
    """Measures transfer from face to voice where the true emotion is known. Each clip of acted speech is paired with faces of
    its own emotion with probability rho, and of a random emotion otherwise. The teacher labels the faces, a student learns
    these labels from the voice alone, and is scored on the true emotions of speakers it has never heard.

    At rho 0, the negative control, it must not be better than chance (0.5). The ceiling is the same student trained with
    the true emotions. The same command continues where it stopped, and keeps finished students.
    """

    speech: str
    """CSV with the columns file (relative to the CSV), speaker, emotion and ferplus_class: one of the eight FER+ emotions,
    or empty to leave the clip out. Path or s3:// URI."""
    faces: str
    """Faces that the teacher was not trained on, in one of FER+'s forms, such as a parquet file; for the included teacher,
    FER+'s valid or test faces. Path or s3:// URI."""
    out: str
    """Folder or s3:// prefix for sets, students, transfer_benchmark.json and report.html: new, or of the same benchmark."""
    rho: tuple[str, ...] = ("0", "0.5", "1")
    """Probabilities, 0 to 1, that the face shows the voice's emotion. The result uses them as keys, as you write them."""
    seeds: int = 3
    """Students per rho; each seed holds out different speakers."""
    recipe: Literal[RECIPES_WITHOUT_FRONT_END] = "compact"  # pyright: ignore[reportInvalidTypeForm]
    """Recipe of the students, as in `emovox distill`."""
    epochs: int | None = None
    """Epochs of each student. Default: the recipe's."""
    teacher: str = DEFAULT_TEACHER
    """Face-emotion network: a name or a file, as in `emovox label`. Path, s3:// or http URI."""
    teacher_sha256: str | None = None
    """Expected sha256 of the teacher's file."""
    trust_teacher: bool = False
    """Load a TorchScript teacher, which is a program, without its hash."""
    faces_per_clip: int = 4
    """Number of different faces that each clip is paired with, one after another."""
    gpu: bool = False
    """Label and train on a GPU."""

    def __post_init__(self):
        if self.seeds < 1:
            raise UserError(f"seeds is {self.seeds}; give 1 or more")
        if self.epochs is not None and self.epochs < 1:
            raise UserError(f"epochs is {self.epochs}; give 1 or more")
        if self.faces_per_clip < 1:
            raise UserError(f"faces-per-clip is {self.faces_per_clip}; give 1 or more")
        values = [_probability(rho) for rho in self.rho]
        if len(set(values)) != len(values) or not values:
            raise UserError(f"rho is {' '.join(self.rho) or 'empty'}; give each probability once, such as 0 0.5 1")


def _probability(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise UserError(f"rho is {text!r}; it is a probability, give a number from 0 to 1")
    return value


def transfer_benchmark(options: TransferBenchmarkOptions, record: RunRecord) -> dict:
    from pipeline.assets.weights import teacher_weights
    from pipeline.reports.transfer import control_sentence, transfer_report
    from pipeline.teachers.ferplus_files import read_faces
    from pipeline.transfer.run import run_benchmark
    from pipeline.transfer.speech import read_speech_clips
    from pipeline.transfer.trials import TransferBenchmark

    changes = {"epochs": options.epochs} if options.epochs else {}
    speech_uri, out_uri = storage.absolute(options.speech), storage.absolute(options.out)
    storage.require_writable(out_uri)
    with record.stage("read"):
        weights = teacher_weights(options.teacher, options.teacher_sha256, trusted=options.trust_teacher)
        files, left_out = read_speech_csv(speech_uri)
        faces = read_faces(options.faces)
        clips = read_speech_clips(files)
    if left_out:
        log.info("%d clips have no ferplus_class and are left out: %s", sum(left_out.values()), left_out)
    for clip in (clip for clip in clips if clip.reject_reason):
        log.warning("%s is rejected: %s, %s", clip.file.audio_uri, clip.reject_reason, clip.reject_detail)
    benchmark = TransferBenchmark(
        clips=clips,
        faces=faces,
        faces_uri=storage.absolute(options.faces),
        teacher=weights,
        recipe=dataclasses.replace(STUDENT_RECIPES[options.recipe](), **changes),
        rhos=options.rho,
        seeds=options.seeds,
        out_uri=out_uri,
        faces_per_clip=options.faces_per_clip,
        gpu=options.gpu,
    )
    record.inputs |= benchmark.identity()
    with record.stage("benchmark"):
        result: dict[str, Any] = run_benchmark(benchmark, options.address)
    result["left_out"] = left_out
    record.counts |= {name: result[name] for name in ("clips", "rejected", "left_out", "n", "speakers", "faces")}
    log.info(control_sentence(result))
    report_uri = storage.join(out_uri, "report.html")
    result |= {"seconds": round(record.seconds(), 3), "report": report_uri}
    facts = ReportFacts(
        title="Transfer from face to voice",
        teacher=result["teacher"],
        files={"speech": options.speech, "faces": options.faces, "everything written": out_uri},
        configuration={**dataclasses.asdict(options), "recipe": dataclasses.asdict(benchmark.recipe)},
        versions=installed_versions(),
    )
    storage.write_json(storage.join(out_uri, "transfer_benchmark.json"), result)
    storage.write_bytes(report_uri, transfer_report(result, options.rho, facts).encode())
    record.write_into(out_uri)
    return result


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("transfer-benchmark", TransferBenchmarkOptions, transfer_benchmark, argv)


if __name__ == "__main__":
    sys.exit(main())
