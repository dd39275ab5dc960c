"""Student -> ONNX file, compared with the student itself."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from cluster import storage
from cluster.command import JobOptions, run_job
from cluster.failures import UserError
from cluster.run_record import RunRecord
from pipeline.students.files import DEFAULT_STUDENT, student_file, student_fingerprint, student_uri


@dataclass(frozen=True, kw_only=True)
class Export(JobOptions):
    """Writes a student as one ONNX file for any runtime. Input: `waveform`, float32 (1, samples) at 16 kHz in [-1, 1], of any
    length. Outputs: `logits` (1, 8), `probabilities` (1, 8) and `embedding` (1, D), as `load_student(...)` gives them.

    The graph includes the input transform, the padding of short clips and the cut of long ones to their centre. It does not
    include resampling and mixing down to mono. The metadata hold the order of emotions, the sample rate, the student's
    sha256 and its prior. Before it is written, the file is run in onnxruntime on clips of 0.3 to 12 s; it is not written if
    its outputs differ from the student's.

    Needs the package onnx: pip install 'emovox[export]'.
    """

    out: str
    """File to write, such as student.onnx."""
    student: str = DEFAULT_STUDENT
    """Student file, or the folder that `emovox distill` wrote; a path or s3:// URI. Default: the shipped one."""


def export(options: Export, record: RunRecord) -> dict:
    from modeling.students.onnx_export import PARITY_S, TOLERANCE, export_student, parity, student_metadata
    from pipeline.students.load import read_student

    storage.require_file_name(options.out)
    file_uri = student_file(student_uri(options.student))
    student, fingerprint = read_student(options.student), student_fingerprint(options.student)
    with record.stage("export"):
        try:
            content = export_student(student, fingerprint)
        except ValueError as error:
            raise UserError(f"{file_uri}: {error}") from error
    with record.stage("parity"):
        differences = parity(student, content)
    if not max(differences.values()) <= TOLERANCE:
        raise UserError(
            f"{file_uri}: in onnxruntime its answers differ by {differences}, more than {TOLERANCE:g}; nothing is "
            "written; use the versions of torch, onnx and onnxruntime that the project pins"
        )
    out_uri = storage.absolute(options.out)
    storage.write_bytes(out_uri, content)
    result = {
        "out": out_uri,
        "bytes": len(content),
        "parity": differences,
        "tolerance": TOLERANCE,
        "parity_clips_s": list(PARITY_S),
        "metadata": student_metadata(student, fingerprint),
    }
    record.inputs |= {"student": fingerprint}
    record.counts |= {name: result[name] for name in ("bytes", "parity", "tolerance")}
    record.write_beside(out_uri)
    return result | {"seconds": round(record.seconds(), 3)}


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("export", Export, export, argv)


if __name__ == "__main__":
    sys.exit(main())
