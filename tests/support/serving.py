"""A server on this machine's own address, as `emovox serve` runs it in one process; and sound to send to it."""

import contextlib
import threading
from collections.abc import Generator
from pathlib import Path

import numpy as np
import soundfile
import uvicorn

from modeling.students.build import Student
from pipeline.serving.access import Access
from pipeline.serving.answers import Answers
from pipeline.serving.app import ServeSettings, application
from pipeline.serving.batching import BatchingStudent
from pipeline.serving.one_process import _listening
from pipeline.serving.page import StudentFacts, worth_of
from pipeline.students.files import shipped_exams

RATE_HZ = 16_000

FACTS = StudentFacts(name="small", sha256="0" * 64, worth=worth_of(shipped_exams("whisper-tiny")), has_prior=True)


@contextlib.contextmanager
def serving(student: Student, *, token: str | None = None, most_bytes: int = 2**20) -> Generator[str]:
    """Its address, HOST:PORT."""
    settings = ServeSettings(access=Access(token=token), most_bytes=most_bytes)
    app = application(Answers(BatchingStudent(student)), FACTS, settings)
    listener = _listening("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()


def voice(path: Path, seconds: float = 5.0) -> Path:
    """Not speech, but sound that changes."""
    noise = np.random.default_rng(3).standard_normal(int(seconds * RATE_HZ))
    soundfile.write(path, 0.1 * noise * np.linspace(0.2, 1, len(noise)), RATE_HZ, subtype="PCM_16")
    return path
