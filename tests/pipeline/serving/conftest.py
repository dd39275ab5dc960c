"""A server on this machine's own address, as `emovox serve` runs it in one process."""

import contextlib
import threading
from collections.abc import Generator

import pytest
import torch
import uvicorn

from modeling.students.build import Student, StudentConfig, build_student
from pipeline.serving.access import Access
from pipeline.serving.answers import Answers
from pipeline.serving.app import ServeSettings, application
from pipeline.serving.batching import BatchingStudent
from pipeline.serving.one_process import _listening
from pipeline.serving.page import StudentFacts, worth_of
from pipeline.students.load import shipped_exams

FACTS = StudentFacts(name="small", sha256="0" * 64, worth=worth_of(shipped_exams("whisper-tiny")), has_prior=True)


@pytest.fixture(scope="session")
def small_student() -> Student:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        student = build_student(StudentConfig(widths=(8, 16, 16), embedding=32)).eval()
    student.meta = {"prior": [0.6, 0.1, 0.05, 0.1, 0.05, 0.04, 0.03, 0.03], "prior_strength": 1.0}
    return student


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


@pytest.fixture(scope="module")
def address(small_student) -> Generator[str]:
    with serving(small_student) as served:
        yield served
