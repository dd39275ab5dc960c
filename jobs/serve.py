"""A student behind HTTP, with a page to talk to."""

import os
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.command import JobOptions, run_job
from cluster.failures import UserError
from cluster.run_record import RunRecord
from pipeline.students.files import DEFAULT_STUDENT

if TYPE_CHECKING:
    from starlette.applications import Starlette

TOKEN_VARIABLE = "EMOVOX_SERVE_TOKEN"


@dataclass(frozen=True, kw_only=True)
class Serve(JobOptions):
    """Answers recordings and videos that are sent to it with what `emovox predict` says, listens to live speech, and shows a
    page: drop a file or speak, and see emotion over time. It keeps nothing of what it hears. Ctrl-C ends it.

    POST /predict    a file as the body (?name=voice.wav) or as the field `file` of a form; with ?timeline=1 a row per window
    WebSocket /live  int16 samples, mono, 16 kHz in; a JSON row per window out
    GET /            the page; /student what it is worth; /health

    It runs in this process, without Ray. --replicas or --address run it in replicas of Ray Serve instead.
    """

    student: str = DEFAULT_STUDENT
    """Student file, or the folder that `emovox distill` wrote; path or s3:// URI. Default: the shipped one."""
    host: str = "127.0.0.1"
    """Address to listen at. Any but this machine's own wants a token; 0.0.0.0 is all of this machine's addresses."""
    port: int = 8000
    """Port; 0 takes one that is free (not with Ray Serve)."""
    token: str | None = None
    """What a request must know where --host is not this machine alone. Default: EMOVOX_SERVE_TOKEN, else one is made up and
    printed. Prefer the variable: other users of the machine can read a command line."""
    most_mb: int = 200
    """Largest file that is taken, in MiB."""
    replicas: int | None = None
    """Replicas of Ray Serve, each with a student and decoders of its own. Default: 1 with --address, else none."""
    gpu: bool = False
    """A GPU for each replica."""

    def __post_init__(self):
        if not 0 <= self.port < 2**16:
            raise UserError(f"port is {self.port}; give 0 to 65535")
        if self.most_mb < 1:
            raise UserError(f"most-mb is {self.most_mb}; give 1 or more")
        if self.replicas is not None and self.replicas < 1:
            raise UserError(f"replicas is {self.replicas}; give 1 or more, or leave it out")
        if self.on_ray and self.port == 0:
            raise UserError("port is 0, which Ray Serve does not take; give the port to listen at")
        if self.gpu and not self.on_ray:
            raise UserError("--gpu wants --replicas or --address")

    @property
    def on_ray(self) -> bool:
        return self.replicas is not None or self.address is not None


def serve(options: Serve, record: RunRecord) -> dict:
    """Raises UserError if the packages of the extra `serve` are missing, or nothing can listen at the address."""
    try:
        from pipeline.serving.access import is_loopback
        from pipeline.serving.one_process import serve_here
    except ModuleNotFoundError as error:
        raise UserError(
            f"{error.name} is not installed; `emovox serve` wants the extra: pip install 'emovox[serve]'"
        ) from error
    given = options.token or os.environ.get(TOKEN_VARIABLE)
    token = given or (None if is_loopback(options.host) else secrets.token_urlsafe(16))
    shown_host = "ADDRESS-OF-THIS-MACHINE" if options.host in ("0.0.0.0", "::") else options.host
    query = f"/?token={token}" if token and not given else "/?token=..." if token else "/"
    told = f"open http://{shown_host}:{{port}}{query} in a browser; Ctrl-C ends it"
    try:
        if options.on_ray:
            _replicas(options, token, told)
        else:
            serve_here(_application(options.student, options.most_mb, token), options.host, options.port, told)
    except KeyboardInterrupt:
        pass
    return {"student": options.student, "seconds": round(record.seconds(), 3)}


def _replicas(options: Serve, token: str | None, told: str) -> None:
    from cluster.session import session
    from pipeline.serving.replicas import serve_on_ray

    student, most_mb, device = options.student, options.most_mb, "cuda" if options.gpu else "cpu"
    with session(options.address):
        serve_on_ray(
            lambda: _application(student, most_mb, token, device),
            options.host,
            options.port,
            options.replicas or 1,
            gpu=options.gpu,
            told=told,
        )


def _application(student_name: str, most_mb: int, token: str | None, device: str = "cpu") -> "Starlette":
    from pipeline.serving.access import Access
    from pipeline.serving.answers import Answers
    from pipeline.serving.app import ServeSettings, application
    from pipeline.serving.batching import BatchingStudent
    from pipeline.serving.page import StudentFacts
    from pipeline.serving.uploads import MIB
    from pipeline.students.load import read_student

    student = read_student(student_name).to(device)
    facts = StudentFacts.of(student_name, student)
    settings = ServeSettings(access=Access(token=token), most_bytes=most_mb * MIB)
    return application(Answers(BatchingStudent(student)), facts, settings)


def main(argv: Sequence[str] | None = None) -> int:
    return run_job("serve", Serve, serve, argv)


if __name__ == "__main__":
    sys.exit(main())
