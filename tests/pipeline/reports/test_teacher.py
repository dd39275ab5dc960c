"""The page of a teacher's evaluation: complete, self-contained, right about its numbers, safe against hostile names."""

import base64
import re

import cv2
import numpy as np
import pytest

from cluster.json_values import json_ready
from modeling.emotions import EMOTIONS
from modeling.evaluation.ferplus_accuracy import evaluate_ferplus
from modeling.faces.ferplus import FaceSet
from pipeline.reports.facts import ReportFacts
from pipeline.reports.teacher import mistakes, teacher_report
from tests.support.html_page import Page


def figures(*args, **options) -> dict:
    return json_ready(evaluate_ferplus(*args, **options))


@pytest.fixture(scope="module")
def faces() -> FaceSet:
    """90 faces: 60 of happiness with one vote for not_face, 20 of fear, 10 without a majority."""
    votes = np.zeros((90, 10), np.uint8)
    votes[:60, 1], votes[:60, 9] = 9, 1
    votes[60:80, 6] = 10
    votes[80:, :5] = 2
    return FaceSet(np.random.default_rng(0).integers(0, 256, (90, 48, 48), np.uint8), votes)


@pytest.fixture(scope="module")
def logits() -> np.ndarray:
    """51 of happiness are right and 9 are taken for anger; all of fear are taken for surprise, more and more surely."""
    logits = np.zeros((90, 8))
    logits[:51, 1] = 3.0
    logits[51:60, 4] = 2.0
    logits[60:80, 2] = np.linspace(3, 8, 20)
    return logits


@pytest.fixture(scope="module")
def html(faces, logits) -> str:
    facts = ReportFacts(teacher="mine@abc", files={"faces": "valid.parquet"}, versions={"torch": "2.9"})
    return teacher_report(figures(logits, faces.votes_NV), mistakes(faces, logits), facts)


def test_accuracies_recalls_and_confusion_are_told_in_numbers(html):
    words = Page(html).words
    assert "mine@abc looked at 90 faces" in words and "valid.parquet" in words
    assert re.search(r"majority 63\.75 % 52\.8\d to 73\.4\d % 80 FER\+'s majority", words)  # 51 of 80
    assert re.search(r"argmax8 67\.78 % \S+ to \S+ % 90 ", words)  # and the ten of neutral: 61 of 90
    assert "the balanced accuracy, is 42.5 %" in words  # mean of 51/60 and 0
    assert "happiness 85.0 % 60" in words and "fear 0.0 % 20" in words and "contempt none 0" in words
    assert "fear (20) 0 % 0 0 % 0 100 % 20" in words and "anger (0) – 0" in words
    assert "happiness (60) 0 % 0 85 % 51 0 % 0 0 % 0 15 % 9" in words


def test_the_most_confident_errors_are_pictured_with_votes_and_answer(html, faces):
    page = Page(html)
    pictures = [image for image in page.all("img") if image["src"].startswith("data:image/png")]
    assert len(pictures) == 24  # of 29
    assert [image["title"] for image in pictures[:3]] == ["row 79", "row 78", "row 77"]
    first = cv2.imdecode(np.frombuffer(base64.b64decode(pictures[0]["src"].split(",")[1]), np.uint8), -1)
    assert np.array_equal(first, faces.images_NHW[79])
    assert re.search(r"votes: fear teacher: surprise 99\.8 % row 79: 10 fear", page.words)
    assert "row 51: 9 happiness, 1 not face" in page.words


def test_the_limits_follow_from_the_figures(html, faces, logits):
    words = Page(html).words
    assert "Too few faces for an exact recall: fear (20)." in words
    assert "No face of the majority rule shows neutral, surprise, sadness, anger, disgust, contempt" in words
    assert "does not know" not in words
    masked = figures(logits, faces.votes_NV, masked=("contempt",))
    assert Page(teacher_report(masked, [], ReportFacts())).words.count("does not know contempt") == 2


def test_the_page_is_self_contained_and_described(html):
    page = Page(html)
    assert not page.all("script") and not page.all("link")
    assert page.all("meta")[2]["content"].startswith("default-src 'none'; img-src data:")
    assert all(image["src"].startswith("data:") and image["alt"] for image in page.all("img"))
    assert all(cell["scope"] in ("row", "col") for cell in page.all("th"))
    outside_of_data = re.sub(r"data:[a-z/+]+;base64,[A-Za-z0-9+/=]+", "", html)
    assert not re.search(r"https?://|url\(|@import", outside_of_data)


def test_the_reliability_diagram_has_its_dots_where_the_bins_are():
    """A teacher of 40 faces, sure by 0.9 and right in 30 of them: one dot, at 0.9 and 0.75 of the axes."""
    logits = np.log(np.full((40, 8), 0.1 / 7))
    logits[:, 0] = np.log(0.9)
    votes = np.zeros((40, 10), np.uint8)
    votes[:30, 0], votes[30:, 1] = 10, 10
    html = teacher_report(figures(logits, votes), [], ReportFacts())
    assert "in 1 bin; in the highest, 40 faces with 90.0 % confidence and 75.0 % right answers" in html
    svg = base64.b64decode(re.search(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", html)[1]).decode()
    assert not re.search(r'(xlink:)?href="(?!#)|@import|url\((?!#)', svg)
    left, bottom, right, _, _, top = (
        float(n) for n in re.search(r'id="patch_2">\s*<path d="M ([^"]*)"', svg)[1].replace("L", "").split()[:6]
    )
    x, y = (
        float(n) for n in re.search(r'id="PathCollection_1">.*?<use [^>]*x="([\d.]+)" y="([\d.]+)"', svg, re.S).groups()
    )
    assert (x - left) / (right - left) == pytest.approx(0.9, abs=1e-3)
    assert (y - bottom) / (top - bottom) == pytest.approx(0.75, abs=1e-3)


def test_hostile_names_are_escaped(faces, logits):
    hostile = '<script>alert("x")</script>" onload="y'
    facts = ReportFacts(title=hostile, teacher=hostile, files={hostile: hostile}, configuration={"split": hostile})
    html = teacher_report(figures(logits, faces.votes_NV), mistakes(faces, logits), facts)
    page = Page(html)
    assert not page.all("script") and "<script>alert" not in html and hostile in page.text
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_nothing_to_measure_makes_a_page_too():
    votes = np.zeros((2, 10), np.uint8)
    votes[:, 8] = 10
    words = Page(teacher_report(figures(np.zeros((2, 8)), votes), [], ReportFacts())).words
    assert "majority none 0" in words and "No face has a majority" in words and "None: no face with a majority" in words
    assert all(f"{emotion} none 0" in words for emotion in EMOTIONS)
