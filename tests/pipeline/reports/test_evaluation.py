"""The page of an evaluation: its numbers, its warnings, safe against hostile names, complete on its own."""

import base64
import dataclasses
import re

import pytest

from cluster.json_values import json_ready
from pipeline.evaluation.comparison import differences
from pipeline.evaluation.scoring import evaluate_scores
from pipeline.reports.evaluation import evaluation_report
from pipeline.reports.facts import ReportFacts
from tests.support.html_page import Page
from tests.support.report_inputs import FACTS
from tests.support.score_tables import score_table


def measured(table, **origin) -> dict:
    splits = {split: json_ready(evaluate_scores(table, split)) for split in ("heard", "unheard")}
    told = {"teacher": "compact@0", "trained_by": None, "teacher_differs": None, "set_differs": None}
    return json_ready(evaluate_scores(table, "held-out")) | {"splits": splits} | told | origin


@pytest.fixture(scope="module")
def one() -> tuple[dict, str]:
    table = score_table(masked=("contempt",))
    result = measured(table)
    return result, evaluation_report({"student": result}, {}, {"student": table}, FACTS)


@pytest.fixture(scope="module")
def several() -> tuple[dict, str]:
    tables = {"first": score_table(), "second": score_table(follows=1.0), "third": score_table(noise_seed=7)}
    tables["third"] = tables["third"].set_column(
        tables["third"].schema.get_field_index("corrected"), "corrected", score_table(is_corrected=False)["corrected"]
    )
    results = {name: measured(table) for name, table in tables.items()}
    results["third"] |= {"teacher_differs": True, "trained_by": "senet50@1"}
    compared = json_ready(differences(tables, "held-out"))
    return compared, evaluation_report(results, compared, tables, FACTS)


def test_one_student_is_shown_with_its_numbers(one):
    result, html = one
    words = Page(html).words
    cell = result["auc"]["happiness"]
    said = f"happiness {cell['positives']} {cell['value']:.2f} {cell['low']:.2f} to {cell['high']:.2f}"
    assert said in words and "held-out: test" in words and "compact@abc" in words
    kl = result["kl"]
    assert f"as they are {kl['value']:.3f} {kl['low']:.3f} to {kl['high']:.3f} {kl['constant']:.3f}" in words
    for kind in ("raw", "corrected"):
        assert f"balanced accuracy {result['balanced_accuracy'][kind]['value']:.2f} (" in words
    row = result["confusion"]["raw"][0]
    assert f"neutral ({sum(row)}) {100 * row[0] / sum(row):.0f} % {row[0]}" in words
    assert "side by side" not in words and "heard: test" in words and "unheard: test" in words


def test_what_is_not_estimable_says_why(one):
    words = Page(one[1]).words
    assert "contempt 0 not estimable: 0 positives, at least 5 are needed" in words
    assert "contempt the teacher does not know it" in words
    assert "The teacher does not know contempt: nothing is measured about it" in words


def test_pictures_are_embedded_and_described(one):
    page = Page(one[1])
    pictures = page.all("img")
    assert len(pictures) == 2 and all(p["src"].startswith("data:image/svg+xml") and p["alt"] for p in pictures)
    assert "happiness 0." in pictures[0]["alt"]
    roc = base64.b64decode(pictures[0]["src"].split(",")[1]).decode()
    for emotion in ("neutral", "happiness", "surprise", "sadness", "anger"):
        assert f">{emotion} {one[0]['auc'][emotion]['value']:.2f}</text>" in roc
    outside_of_data = re.sub(r"data:[a-z/+]+;base64,[A-Za-z0-9+/=]+", "", one[1])
    assert not re.search(r"https?://|url\(|@import", outside_of_data) and not page.all("script")
    assert all(a["scope"] in ("row", "col") for a in page.all("th"))


def test_several_students_stand_side_by_side_with_their_differences(several):
    compared, html = several
    words = Page(html).words
    for name in ("second", "third"):
        value = f"{compared[name]['mean_auc']['value']:+.3f}".replace("-", "−")
        assert f"{name} {value} " in words
    assert compared["third"]["mean_auc"]["finding"] == "no difference shown" and "no difference shown" in words
    assert "Differences to first" in words and "Each of the 3 students" in words
    assert words.count("holds no prior of its training set") == 1


def test_the_forest_plot_puts_each_difference_on_its_side_of_zero(several):
    """A picture's middle is 0: positions are per cent of the axis."""
    compared, html = several
    forest = re.findall(r'<table class="forest">.*?</table>', html, re.S)
    assert len(forest) == 2
    for table, measure in zip(forest, ("mean_auc", "kl"), strict=True):
        reach = float(re.search(r"\+(\d\.\d\d)</span>", table).group(1))
        places = [float(place) for place in re.findall(r'class="value" style="left:([\d.]+)%"', table)]
        expected = [50 + 50 * found[measure]["value"] / reach for found in compared.values()]
        assert places == pytest.approx(expected, abs=0.06) and all(0 <= place <= 100 for place in places)


def test_another_teacher_is_said_before_any_number(several):
    words = Page(several[1]).words
    warning = "third learned from another teacher (senet50@1) than the one whose labels it is measured on (compact@0)"
    assert warning in words and words.index(warning) < words.index("mean AUC")


def test_limits_of_several_students_name_the_student_only_where_they_differ(several):
    limits = re.search(r'<ul class="limits">.*?</ul>', several[1], re.S).group()
    assert limits.count("measure agreement with the teacher") == 1
    assert "first: Of the" in limits and "second: Of the" in limits


def test_hostile_names_are_escaped():
    hostile = '<script>alert("x")</script>" onload="y'
    tables = {hostile: score_table(n=60), "plain": score_table(n=60, noise_seed=3)}
    results = {name: measured(table, teacher_differs=True, trained_by=hostile) for name, table in tables.items()}
    facts = dataclasses.replace(FACTS, title=hostile, teacher=hostile, files={hostile: hostile})
    html = evaluation_report(results, json_ready(differences(tables, "held-out")), tables, facts)
    page = Page(html)
    assert not page.all("script") and "<script>alert" not in html and hostile in page.text
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)


def test_labels_of_one_emotion_make_a_page_without_curves():
    table = score_table(n=60)
    table = table.set_column(table.schema.get_field_index("emotion"), "emotion", [["neutral"] * 60])
    words = Page(evaluation_report({"s": measured(table)}, {}, {"s": table}, ReportFacts())).words
    assert "No ROC curve is drawn" in words and "0 utterances without it, at least 5 are needed" in words
    assert "over the emotions that occur (1)" in words
