"""The page to talk to, and what it says of its student."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined

from cluster import storage
from modeling.emotions import EMOTIONS
from modeling.sampling import SAMPLE_RATE_HZ
from modeling.students.build import Student
from pipeline.reports.colours import COLOURS
from pipeline.students.files import SHIPPED_STUDENTS, shipped_exams, student_fingerprint
from pipeline.students.load import student_meta

TEMPLATE = "page.html.j2"


@dataclass(frozen=True, kw_only=True)
class StudentFacts:
    """name: as the user gave it; sha256: of its file; worth: a sentence; has_prior: whether its answers have a corrected form."""

    name: str
    sha256: str
    worth: str
    has_prior: bool

    @classmethod
    def of(cls, name_or_uri: str, student: Student) -> "StudentFacts":
        is_shipped = name_or_uri in SHIPPED_STUDENTS
        return cls(
            name=name_or_uri if is_shipped else storage.absolute(name_or_uri),
            sha256=student_fingerprint(name_or_uri),
            worth=worth_of(shipped_exams(name_or_uri) if is_shipped else []),
            has_prior=student_meta(student).get("prior") is not None,
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "student": self.name,
            "sha256": self.sha256,
            "worth": self.worth,
            "has_prior": self.has_prior,
            "emotions": list(EMOTIONS),
        }


def worth_of(exams: Sequence[Mapping[str, Any]]) -> str:
    """What its answers are worth, in one sentence with the numbers in it. exams: contents of zero_shot.json."""
    if not exams:
        return (
            "Nobody has measured what this student's answers are worth on speech of known emotion "
            "(emovox probe --protocol zero-shot)."
        )
    told = [
        f"{exam['n']} acted clips of {exam['speakers']} speakers ({exam['corpus']}): {_mean(exam, 'corrected')}, or "
        f"{_mean(exam, 'speaker_centred')} with each speaker's own mean off"
        for exam in exams
    ]
    return (
        "How well its answers rank clips by emotion (0.50 is guessing, 1.00 perfect), on speech that it had never heard: "
        + "; ".join(told)
        + ". Much of what it says of a single voice is wrong: do not judge people by it."
    )


def _mean(exam: Mapping[str, Any], variant: str) -> str:
    return f"{exam['variants'][variant]['mean_auc']['value']:.2f}"


def page(facts: StudentFacts, *, needs_token: bool) -> str:
    template = (resources.files("pipeline.serving") / "static" / TEMPLATE).read_text()
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    settings = {"colours": COLOURS, "rate_hz": SAMPLE_RATE_HZ, "has_prior": facts.has_prior}
    return environment.from_string(template).render(
        facts=facts, colours=COLOURS, needs_token=needs_token, settings=json.dumps(settings)
    )
