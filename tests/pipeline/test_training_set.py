"""Windows and their targets are drawn together, and a draw depends on nothing but seed, pass and utterance."""

import numpy as np
import pytest

from modeling.emotions import EMOTIONS
from modeling.spectrogram import WINDOW_SAMPLES
from pipeline.training_set import DrawWindows, WindowDraw
from tests.pipeline.label_rows import label_table, labelled_row

DRAW = WindowDraw(windows=4, pooling="max", seed=7)


def row_with_one_happy_frame(utterance_id: str = "s1/a", seconds: float = 20.0, happy_frame: int = 40) -> dict:
    """Neutral throughout but for one frame; the sound is a ramp, so a window tells where it was cut."""
    from pipeline.speech import encode_flac

    row = labelled_row(utterance_id, seconds=seconds)
    logits = np.array(row["frame_logits"])
    logits[happy_frame, EMOTIONS.index("happiness")] = 9.0
    ramp = (np.arange(int(seconds * 16_000)) // 16).astype(np.int16)
    return row | {"frame_logits": logits.tolist(), "speech_flac": encode_flac(ramp)}


def test_the_target_is_the_maximum_over_the_frames_inside_the_window():
    drawn = DrawWindows(WindowDraw(windows=40, pooling="max", seed=1), 0)(label_table([row_with_one_happy_frame()]))
    happy = drawn["target"][:, EMOTIONS.index("happiness")].numpy() == 9.0
    starts_s = drawn["speech"][:, 0].numpy().astype(float) * 16 / 16_000
    shown_s = 40 * 0.24
    sure = (np.abs(starts_s - shown_s) > 0.3) & (
        np.abs(starts_s + 4.024 - shown_s) > 0.3
    )  # away from the window's edges
    inside = (starts_s < shown_s) & (shown_s < starts_s + 4.024)
    assert sure.sum() > 20 and inside[sure].any() and (~inside[sure]).any()
    assert (happy[sure] == inside[sure]).all()


def test_a_draw_does_not_depend_on_the_rows_beside_it():
    rows = [row_with_one_happy_frame(f"s1/{n}") for n in range(3)]
    together = DrawWindows(DRAW, 2)(label_table(rows))
    alone = DrawWindows(DRAW, 2)(label_table(rows[1:2]))
    assert (together["speech"][4:8] == alone["speech"]).all() and (together["target"][4:8] == alone["target"]).all()


def test_another_pass_draws_other_windows():
    table = label_table([row_with_one_happy_frame()])
    assert (DrawWindows(DRAW, 0)(table)["speech"] != DrawWindows(DRAW, 1)(table)["speech"]).any()


@pytest.mark.parametrize("seconds", [1.5, 4.024, 5.0])
def test_a_batch_has_one_size_for_utterances_of_any_length(seconds):
    drawn = DrawWindows(DRAW, 0)(label_table([labelled_row("s1/a", seconds=seconds)]))
    assert drawn["speech"].shape == (4, WINDOW_SAMPLES) and drawn["target"].shape == (4, 8)
