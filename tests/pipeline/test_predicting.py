"""Files of any kind as `predict` reads them: in pieces, all of it, and a reject where there is nothing to hear."""

import numpy as np
import pytest
import soundfile

from pipeline.predicting import spans
from pipeline.rejects import Rejected, RejectReason


@pytest.mark.parametrize(("seconds", "pieces_s"), [(0.3, [0.3]), (10, [10]), (10.4, [10]), (25, [10, 10, 5])])
def test_a_file_is_read_in_pieces_of_ten_seconds(tmp_path, seconds, pieces_s):
    soundfile.write(tmp_path / "a.wav", np.full(int(seconds * 8000), 0.1), 8000)
    assert [len(piece) / 16_000 for piece in spans(str(tmp_path / "a.wav"))] == pytest.approx(pieces_s, abs=0.002)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_sound_that_is_no_number_is_rejected(tmp_path, value):
    sound = np.full(16_000, 0.1, np.float32)
    sound[8000] = value
    soundfile.write(tmp_path / "a.wav", sound, 16_000, subtype="FLOAT")
    with pytest.raises(Rejected) as rejected:
        list(spans(str(tmp_path / "a.wav")))
    assert rejected.value.reason == RejectReason.DAMAGED_AUDIO


def test_an_empty_sound_is_rejected(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16_000)
    with pytest.raises(Rejected):
        list(spans(str(tmp_path / "a.wav")))
