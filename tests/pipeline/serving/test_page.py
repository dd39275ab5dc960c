"""The page in a real browser: a file, and a microphone that hears a file."""

import json

import numpy as np
import pytest
import requests

from modeling.emotions import EMOTIONS
from tests.support.browser import Browser
from tests.support.serving import voice


def shown_means(browser) -> dict[str, float]:
    rows = "[...document.querySelectorAll('#numbers tbody tr')].map(r => [r.dataset.emotion, +r.dataset.mean])"
    return dict(browser.run(rows))


def show(browser, variant: str) -> dict[str, float]:
    browser.run(f"document.querySelector('input[value={variant}]').click()")
    return shown_means(browser)


@pytest.mark.slow
def test_a_file_is_answered_on_the_page_in_three_forms(address, tmp_path):
    path = voice(tmp_path / "voice.wav", seconds=6.0)
    windows = requests.post(f"http://{address}/predict?timeline=1", data=path.read_bytes()).json()["timeline"]
    raw_WE = np.array([[window[name] for name in EMOTIONS] for window in windows])
    with Browser(tmp_path / "profile") as browser:
        browser.open(f"http://{address}/")
        browser.choose_file("#file", path)
        browser.until("document.querySelectorAll('#numbers tbody tr').length === 8")
        assert "voice.wav" in browser.run("document.getElementById('status').textContent")
        assert show(browser, "raw") == pytest.approx(dict(zip(EMOTIONS, raw_WE.mean(0), strict=True)), abs=1e-6)
        corrected = np.mean([[window[f"{name}_corrected"] for name in EMOTIONS] for window in windows], axis=0)
        assert show(browser, "corrected") == pytest.approx(dict(zip(EMOTIONS, corrected, strict=True)), abs=1e-6)
        log_WE = np.log(raw_WE) - np.log(raw_WE).mean(0)
        centred_WE = np.exp(log_WE) / np.exp(log_WE).sum(1, keepdims=True)
        assert show(browser, "centred") == pytest.approx(dict(zip(EMOTIONS, centred_WE.mean(0), strict=True)), abs=1e-6)
        pixels = "[...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]"
        drawn = f"(c => {pixels})(document.getElementById('%s'))"
        for canvas in ("timeline", "spectrogram"):
            assert len(set(browser.run(drawn % canvas))) > 8, f"nothing is drawn on the {canvas}"
        assert not browser.problems()


@pytest.mark.slow
def test_a_file_without_sound_is_told_and_not_drawn(address, tmp_path):
    (tmp_path / "x.wav").write_bytes(b"PK\x03\x04" + bytes(100))
    with Browser(tmp_path / "profile") as browser:
        browser.open(f"http://{address}/")
        browser.choose_file("#file", tmp_path / "x.wav")
        browser.until("document.getElementById('status').classList.contains('problem')")
        assert "x.wav: the file is not in any container format" in browser.run(
            "document.getElementById('status').textContent"
        )
        assert browser.run("document.getElementById('answer').hidden")


@pytest.mark.slow
def test_what_is_spoken_is_drawn_while_it_is_spoken(address, tmp_path):
    with Browser(tmp_path / "profile", microphone=voice(tmp_path / "voice.wav", seconds=20.0)) as browser:
        browser.open(f"http://{address}/")
        browser.run("document.getElementById('speak').click()")
        browser.until("parseFloat(document.getElementById('length').textContent) >= 3")
        assert browser.run("document.getElementById('speak').textContent") == "Stop"
        assert sum(shown_means(browser).values()) == pytest.approx(1, abs=1e-3)
        browser.run("document.getElementById('speak').click()")
        assert "s heard" in browser.run("document.getElementById('status').textContent")
        assert not browser.problems(), json.dumps(browser.problems())
