"""The page of the demo, and what all pages share: self-contained, safe against hostile names, right about numbers and times."""

import base64
import dataclasses
import io
import itertools
import re
import shutil
import subprocess

import cv2
import numpy as np
import pytest
import soundfile
from scipy.special import softmax

from pipeline.rejects import EXPLANATIONS, RejectReason
from pipeline.reports import demo, figures, findings, utterance_card
from pipeline.reports.demo import demo_report
from pipeline.reports.facts import ClipSource, ReportFacts
from pipeline.schema import SET_VERSION
from pipeline.students.files import shipped_exams
from tests.support.html_page import Page
from tests.support.label_rows import label_table, reject_row
from tests.support.report_inputs import (
    FACTS,
    RATE_HZ,
    TRAINING,
    drawn_face,
    evaluation,
    flac,
    people_of,
    pictured_row,
    timeline,
)

assert SET_VERSION == "1"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def page_of(table, *, training=(), evaluations=None, timelines=None, facts=ReportFacts(), **options) -> str:  # noqa: B008
    """The page of a run of which the test states only what it is about."""
    return demo_report(
        table, training=training, evaluations=evaluations or {}, timelines=timelines or {}, facts=facts, **options
    )


@pytest.fixture(scope="module")
def mixed_html() -> str:
    rows = [pictured_row(k) for k in range(5)]
    rows[1] = pictured_row(1, missing=(4, 5, 6), face_is_ambiguous=True)
    rows += [
        reject_row(f"utt_{k:03d}", reason, **people_of(k))
        for k, reason in ((5, "no_face"), (6, "no_face"), (7, "silent"))
    ]
    evaluations = {"unheard": evaluation("unheard"), "train": evaluation("train")}
    return page_of(
        label_table(rows),
        training=TRAINING,
        evaluations=evaluations,
        timelines={"student": {"utt_002": timeline(3.0)}},
        facts=FACTS,
    )


def test_page_tells_the_run_in_numbers(mixed_html):
    words = Page(mixed_html).words
    assert "4 videos with 8 utterances. It labelled 5 of them, 15.0 s of speech; 3 were set aside" in words
    assert "label 12.3 s" in words and "train 56.7 s" in words
    assert "decoding 2.5 s, finding faces 1.2 s, teacher 0.6 s" in words
    for expected in ("student.epochs 5", "clip_a somewhere public CC BY 4.0", "output/distillation_set.parquet"):
        assert expected in words


def test_every_utterance_and_reject_reason_is_named(mixed_html):
    page = Page(mixed_html)
    by_split_then_video = ["utt_004", "utt_001", "utt_002", "utt_000", "utt_003"]
    assert [a["data-utterance"] for a in page.all("article")] == by_split_then_video
    for number in range(8):
        assert f"utt_{number:03d}" in page.text
    assert f"no_face 2 {EXPLANATIONS[RejectReason.NO_FACE]} utt_005" in page.words
    assert f"silent 1 {EXPLANATIONS[RejectReason.SILENT]} utt_007" in page.words
    assert page.words.count("uncertain face") == 1
    assert page.words.count("student 0–100 %") == 1  # one utterance has a student timeline


def test_auc_table_shows_intervals_and_what_cannot_be_estimated(mixed_html):
    words = Page(mixed_html).words
    assert "happiness 5 0.85 0.70 to 0.95" in words
    assert words.count("contempt 0 not estimable") == 2
    assert words.index("train: the utterances the student learned from") < words.index("unheard: test")


def test_the_shipped_student_stands_beside_that_of_the_run_with_its_exam():
    shipped = demo.ShippedStudent(
        name="whisper-tiny",
        evaluations={
            "unheard": evaluation("unheard") | {"mean_auc": 0.61, "mean_auc_low": 0.55, "mean_auc_high": 0.66}
        },
        exams=shipped_exams("whisper-tiny"),
    )
    lanes = {"student": {"utt_000": timeline(3.0)}, "shipped student": {"utt_000": timeline(3.0)}}
    evaluations = {"unheard": evaluation("unheard"), "train": evaluation("train")}
    table = label_table([pictured_row(0)])
    page = Page(page_of(table, evaluations=evaluations, timelines=lanes, shipped=shipped, facts=FACTS))
    assert "student 0–100 %" in page.words and "shipped student 0–100 %" in page.words
    own = evaluation("unheard")["mean_auc"]
    assert f"unheard {own:.2f}" in page.words and "0.61 0.55 to 0.66" in page.words
    assert "624 clips of 24 speakers in the corpus ravdess" in page.words
    assert "sadness 96 0.58 0.79 0.79 0.82" in page.words


def test_page_is_self_contained_and_described(mixed_html):
    page = Page(mixed_html)
    assert not page.all("link") and not page.all("iframe")
    assert all("src" not in script for script in page.all("script"))
    sources = [a["src"] for tag in ("img", "audio") for a in page.all(tag)]
    assert len(sources) > 30 and all(source.startswith("data:") for source in sources)
    outside_of_data = re.sub(r"data:[a-z/+]+;base64,[A-Za-z0-9+/=]+", "", mixed_html)
    assert not re.search(r"https?://|url\(|@import", outside_of_data)
    assert all(a["alt"] for a in page.all("img"))
    assert all(a["scope"] in ("row", "col") for a in page.all("th"))


def test_pictures_fetch_nothing(mixed_html):
    """Inside an SVG a link or a style sheet would be a request too; namespaces and the DTD name are only names."""
    svgs = [base64.b64decode(m) for m in re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", mixed_html)]
    assert svgs
    for svg in svgs:
        assert not re.search(rb"(xlink:)?href=\"(?!#)|@import|url\((?!#)", svg)


def test_hostile_names_are_escaped():
    hostile = '<script>alert("x")</script>" onload="y'
    rows = [pictured_row(0, utterance_id=hostile, speaker_id=hostile, video_id=hostile, teacher=hostile)]
    rows += [reject_row(hostile + "1", "truncated", reject_detail="<img src=x onerror=alert(1)>")]
    clips = [ClipSource(name=hostile, source=hostile)]
    facts = dataclasses.replace(FACTS, title=hostile, clips=clips, files={hostile: hostile})
    evaluations = {"unheard": evaluation("unheard")}
    html = page_of(label_table(rows), training=TRAINING, evaluations=evaluations, facts=facts)
    page = Page(html)
    assert len(page.all("script")) == 1  # ours, and no other
    assert "<script>alert" not in html and "<img src=x" not in html
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert hostile in page.text


def test_cap_is_stated_and_keeps_every_split():
    html = page_of(label_table([pictured_row(k, 1.2) for k in range(9)]), max_detailed=4)
    page = Page(html)
    assert len(page.all("article")) == 4
    assert "4 of 9 labelled utterances are shown" in page.words
    assert html.count("<span>unheard</span>") >= 1 and html.count("<span>train</span>") >= 1
    assert "No epoch was trained" in page.words and "was not evaluated" in page.words


def test_sound_is_left_out_where_the_page_would_grow_too_large(monkeypatch):
    table = label_table([pictured_row(k) for k in range(3)])
    whole = page_of(table)
    monkeypatch.setattr(demo, "PAGE_BYTES", 0)
    without = page_of(table)
    assert len(Page(whole).all("audio")) == 3 and not Page(without).all("audio")
    assert "sound of 3 utterances is not embedded" in Page(without).words


def test_thirty_utterances_stay_below_five_megabytes():
    noise = io.BytesIO()
    soundfile.write(
        noise, 0.1 * np.random.default_rng(0).standard_normal(8 * RATE_HZ), RATE_HZ, format="FLAC", subtype="PCM_16"
    )
    rows = [
        pictured_row(k, 8.0, speech_flac=noise.getvalue(), speech_samples=8 * RATE_HZ) for k in range(30)
    ]  # noise: the worst case
    html = page_of(
        label_table(rows),
        training=TRAINING,
        timelines={row["utterance_id"]: timeline(8.0) for row in rows},
        facts=FACTS,
    )
    assert len(html.encode()) < 5_000_000
    page = Page(html)
    assert len(page.all("article")) == 30 and 5 <= len(page.all("audio")) < 30


def test_only_rejects_make_a_page():
    words = Page(page_of(label_table([reject_row("utt_000", "empty_file")]))).words
    assert "It labelled 0 of them" in words and "1 was set aside" in words and "empty_file" in words


def test_gaps_are_where_no_face_was_found():
    row = pictured_row(0, 2.5, missing=(0, 4, 5, 10), start_s=100.0)  # grid positions 0 to 10; the axis ends at 2.5 s
    edges_s, probabilities_NE = utterance_card.teacher_steps(row, utterance_card.axis_length(row))
    assert np.allclose(probabilities_NE[[1, 2, 3, 6, 7, 8, 9]], softmax(row["frame_logits"], axis=1))
    gaps = [
        (g["left"] * 2.5 / 100, g["width"] * 2.5 / 100) for g in utterance_card.gaps(edges_s, probabilities_NE, 2.5)
    ]
    assert np.allclose(gaps, [(0, 0.24), (0.96, 0.48), (2.4, 0.1)], atol=1e-3)


def test_picture_of_a_gap_is_empty():
    """Drawn in the browser's coordinates: 8 x 1 inch at 72 points, so 1 s of 4 s is 144 points."""
    probabilities_NE = np.full((4, 8), 1 / 8)
    probabilities_NE[2] = np.nan
    uri = figures.stacked_probabilities(np.arange(5.0), probabilities_NE, 4.0)
    svg = base64.b64decode(uri.split(",")[1]).decode()
    areas = re.findall(r'<path d="([^"]*)"[^>]*style="fill: #e69f00', svg)
    horizontal = sorted({float(x) for area in areas for x in re.findall(r"[ML] ([\d.]+) ", area)})
    assert [horizontal[0], horizontal[-1]] == pytest.approx([0, 576])
    assert not any(288.1 < x < 431.9 for x in horizontal) and {288.0, 432.0} <= set(horizontal)
    assert sum(area.count("M") for area in areas) == 2


def test_curve_of_small_values_has_a_readable_scale():
    uri = figures.training_curve([1, 2, 3], [0.0005, 0.0003, 0.0001], "learning rate")
    labels = re.findall(r">([\d.]+)</text>", base64.b64decode(uri.split(",")[1]).decode())
    assert {"1", "2", "3", "0.0002", "0.0004"} <= set(labels)


def test_axis_covers_frames_beyond_the_speech():
    assert utterance_card.axis_length(pictured_row(0, 3.0)) == 3.0
    assert utterance_card.axis_length(pictured_row(0, 3.0, speech_samples=16_000)) == pytest.approx(13 * 0.24)


def test_row_without_speech_has_a_card_without_sound():
    page = Page(page_of(label_table([pictured_row(0, speech_flac=None, speech_samples=0)])))
    assert not page.all("audio") and "speech none kept" in page.words and "not embedded" not in page.words


def test_a_row_of_published_labels_which_has_no_faces_has_a_card():
    nothing = "frame_boxes frame_scores face_tracks labelled_track face_is_ambiguous".split()
    nothing += ["thumbnails", "thumbnail_times_s", "detector"]
    html = page_of(label_table([pictured_row(0, **dict.fromkeys(nothing))]))
    assert "no pictures kept" in html and 'data-utterance="utt_000"' in html


def test_thumbnails_lie_at_their_times():
    row = pictured_row(0, 4.0, start_s=10.0, thumbnails=[drawn_face(0), drawn_face(1)], thumbnail_times_s=[11.0, 13.0])
    card = utterance_card.utterance_card(row, {})
    assert [p["left"] for p in card["thumbnails"]["pictures"]] == pytest.approx([25, 75])
    assert card["thumbnails"]["room"] == pytest.approx(50)


def test_tone_stands_at_its_time_and_pitch():
    speech_N, rate_hz = soundfile.read(io.BytesIO(flac(4.0, tone_at_s=3.0)))
    levels_FT = figures.spectrogram_levels(speech_N, rate_hz)
    loudest_row, loudest_column = np.unravel_index(levels_FT.argmax(), levels_FT.shape)
    assert 3.0 <= (loudest_column + 0.5) / levels_FT.shape[1] * 4.0 <= 3.2
    assert (1 - (loudest_row + 0.5) / levels_FT.shape[0]) * 8000 == pytest.approx(1000, abs=60)


def test_limits_are_computed_from_the_numbers():
    evaluations = {"train": evaluation("train", resampled="utterances")}
    said = " ".join([*findings.size_limits(20, 2, 1, 61.2), *findings.evaluation_limits(evaluations)])
    assert "20 labelled utterances (61 s of speech) of 2 videos and 1 speaker." in said and "153,516" in said
    assert "0.013 %" in said
    assert "Of the 2 AUC values with an interval, 1 cannot be told from guessing" in said
    assert "0.33 wide on average" in said
    assert "6 AUC values could not be estimated" in said
    assert "no test split" in said and "intervals of train resample utterances" in said
    union = {"train": evaluation("train"), "all": evaluation("all")}
    assert "Of the 2 AUC values" in findings.evaluation_limits(union)[0]  # no utterance counts twice
    large = " ".join(findings.size_limits(150_000, 20_000, 1200, 1e6))
    assert "machinery" not in large


def test_colours_can_be_told_apart_with_any_colour_vision():
    """Machado, Oliveira and Fernandes 2009 (full protanopia, deuteranopia, tritanopia), distance in CIELAB."""
    simulations = {
        "usual": np.eye(3),
        "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    }
    rgb = np.array([[int(c[k : k + 2], 16) / 255 for k in (1, 3, 5)] for c in figures.COLOURS.values()])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    for name, matrix in simulations.items():
        seen = np.clip(linear @ np.array(matrix).T, 0, 1)
        encoded = np.where(seen <= 0.0031308, 12.92 * seen, 1.055 * seen ** (1 / 2.4) - 0.055)
        lab = cv2.cvtColor(encoded[None].astype(np.float32), cv2.COLOR_RGB2Lab)[0]
        closest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(lab, 2))
        assert closest > 15, name


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the PATH")
def test_browser_shows_every_picture_without_errors(mixed_html, tmp_path):
    """A script in the page checks what the browser made of it; the dumped DOM carries its findings."""
    check = """<script>addEventListener("load", () => setTimeout(() => {
      const broken = [...document.images].filter(i => !i.complete || !i.naturalWidth).length;
      const asked = performance.getEntriesByType("resource").filter(r => !r.name.startsWith("data:")).length;
      const silent = [...document.querySelectorAll("audio")].filter(a => !(a.duration > 2.9 && a.duration < 3.1)).length;
      const tooWide = document.documentElement.scrollWidth > innerWidth;
      document.body.dataset.found = JSON.stringify({pictures: document.images.length, broken, asked, silent, tooWide});
    }, 500));</script></body>"""
    page = tmp_path / "report.html"
    page.write_text(mixed_html.replace("</body>", check))
    quiet = (
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--disable-quic",
    )
    dumps = {}
    for width in (1200, 500):
        command = [
            CHROMIUM,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            *quiet,
            f"--user-data-dir={tmp_path / str(width)}",
        ]
        command += [
            f"--window-size={width},2000",
            "--virtual-time-budget=5000",
            "--enable-logging=stderr",
            "--dump-dom",
            page.as_uri(),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        assert "CONSOLE" not in done.stderr, done.stderr
        dumps[width] = Page(done.stdout)
    for dump in dumps.values():
        found = dump.all("body")[0]["data-found"]
        pictures = len(Page(mixed_html).all("img"))
        assert found == f'{{"pictures":{pictures},"broken":0,"asked":0,"silent":0,"tooWide":false}}'
        assert all(f"utt_{number:03d}" in dump.text for number in range(8))
