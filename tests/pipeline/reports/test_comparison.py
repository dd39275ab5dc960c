"""The page of two compared sets: its numbers, its faces, complete on its own and safe against hostile names."""

import itertools
import re

import numpy as np
import pytest

from modeling.emotions import EMOTIONS
from pipeline.comparison.compare import compare
from pipeline.comparison.faces import read_shown
from pipeline.comparison.figures import Comparison
from pipeline.comparison.joined import join_sets
from pipeline.dataset.label_set import read_label_set
from pipeline.rejects import RejectReason
from pipeline.reports.comparison import comparison_report
from pipeline.reports.facts import ReportFacts
from pipeline.reports.flows import flows
from tests.support.html_page import Page
from tests.support.label_rows import reject_row
from tests.support.label_sets import soft_row, write_set

HOSTILE = "<script>alert('x')</script>"


def page_of(a: str, b: str) -> tuple[Comparison, str]:
    joined = join_sets(read_label_set(a), read_label_set(b))
    found = compare(joined, most=4)
    ids = [one.utterance_id for one in found.most_changed]
    facts = ReportFacts(title="Two sets", files={"A": a, "B": b})
    return found, comparison_report(found, read_shown(joined.a, ids), read_shown(joined.b, ids), facts)


@pytest.fixture(scope="module")
def two(tmp_path_factory) -> tuple[str, str]:
    folder, rng = tmp_path_factory.mktemp("two"), np.random.default_rng(0)
    ids = [f"s{n % 6}/{n}" for n in range(40)] + [f"s1/{HOSTILE}"]
    a = {id: rng.normal(0, 1.5, 8) for id in ids}
    b = {id: a[id] + rng.normal(0, 1, 8) for id in ids}
    a[ids[-1]], b[ids[-1]] = 9 * np.eye(8)[0], 9 * np.eye(8)[4]
    rows_a = [soft_row(id, a[id]) for id in ids] + [reject_row("s2/r", RejectReason.SILENT)]
    rows_b = [soft_row(id, b[id], teacher=f"{HOSTILE}@{'0123456789' * 6}") for id in ids]
    return write_set(folder / "a", rows_a), write_set(folder / "b", [*rows_b, soft_row("s2/r", np.arange(8))])


@pytest.fixture(scope="module")
def made(two) -> tuple[Comparison, str]:
    return page_of(*two)


def test_the_page_says_the_numbers(made):
    found, html = made
    words = Page(html).words
    assert f"{100 * found.agreement.value:.0f} % of 41 utterances that both label" in words
    assert f"Jensen-Shannon distance {found.js.value:.3f} {found.js.low:.3f} to {found.js.high:.3f}" in words
    happy = found.agreement_by_emotion["happiness"]
    assert f"happiness {happy.n} {100 * happy.value:.0f} % {100 * happy.low:.0f} to {100 * happy.high:.0f} %" in words
    assert "silent labelled 1" in words and "1 only in B" in words


def test_those_that_changed_most_come_with_faces_voice_and_both_labels(made):
    page = Page(made[1])
    assert made[0].most_changed[0].utterance_id == f"s1/{HOSTILE}"
    assert len(page.all("audio")) == 4
    faces = [picture for picture in page.all("img") if picture["src"].startswith("data:image/jpeg")]
    assert len(faces) == 4 and all(face["alt"] for face in faces)  # the same face in both sets is shown once
    assert any(tag.get("aria-label", "").startswith("Soft label in B: anger 100") for tag in page.all("div"))


def test_the_page_is_complete_and_runs_no_script(made):
    html = made[1]
    outside_of_data = re.sub(r"data:[a-z/+]+;base64,[A-Za-z0-9+/=]+", "", html)
    assert not re.search(r"https?://|url\(|@import", outside_of_data)
    assert not Page(html).all("script") and HOSTILE not in html and HOSTILE in Page(html).words


def test_sets_without_faces_and_sound_have_a_page(tmp_path):
    bare = {"speech_flac": None, "speech_samples": None, "thumbnails": None, "thumbnail_times_s": None}
    rng = np.random.default_rng(1)
    sets = [
        write_set(tmp_path / name, [soft_row(f"s/{n}", rng.normal(0, 2, 8), **bare) for n in range(9)]) for name in "ab"
    ]
    page = Page(page_of(*sets)[1])
    assert page.words.count("no pictures kept") == 4 and not page.all("audio")
    assert "resample utterances, because there are too few speakers" in page.words


def test_the_page_of_a_set_beside_itself_shows_nothing_that_changed(two):
    words = Page(page_of(two[0], two[0])[1]).words
    assert words.startswith("Two sets Two sets 100 %") and "no soft label differs" in words
    assert "Most often it changed" not in words


def test_ribbons_hold_what_the_confusion_counts():
    confusion = np.zeros((8, 8), int)
    confusion[0, 0], confusion[0, 1], confusion[1, 1], confusion[7, 0] = 50, 10, 30, 1
    drawn = flows(confusion.tolist(), EMOTIONS)
    assert {(each.from_emotion, each.to_emotion): each.n for each in drawn.ribbons} == {
        ("neutral", "neutral"): 50,
        ("neutral", "happiness"): 10,
        ("happiness", "happiness"): 30,
        ("contempt", "neutral"): 1,
    }
    heights = {bar.emotion: bar.height for bar in drawn.left}
    assert set(heights) == {"neutral", "happiness", "contempt"}
    assert heights["neutral"] / heights["happiness"] == pytest.approx(2, rel=0.01)
    for side in (drawn.left, drawn.right):
        ends = [(bar.y, bar.y + bar.height) for bar in side]
        assert all(end < start for (_, end), (start, _) in itertools.pairwise(ends))
        assert 0 <= ends[0][0] and ends[-1][1] <= drawn.height
        labels = [bar.label_y for bar in side]
        assert all(later - sooner >= 15 for sooner, later in itertools.pairwise(labels))
