import math
from decimal import ROUND_HALF_UP, Decimal

import numpy as np
import pytest
import torch
from scipy.signal import resample_poly
from torch.nn import functional as F

from modeling.emotions import EMOTIONS
from modeling.sampling import WINDOW_SAMPLES
from modeling.speech.spectrogram import paper_spectrogram
from modeling.students.build import StudentConfig, build_student
from modeling.students.vggvox import PaperStudent

SMALL = StudentConfig(widths=(8, 16, 16), embedding=32)


@pytest.fixture(scope="module")
def paper_student() -> PaperStudent:
    torch.manual_seed(0)
    return build_student(StudentConfig(kind="paper")).eval()


@pytest.fixture(scope="module")
def compact_student():
    torch.manual_seed(0)
    return build_student(StudentConfig()).eval()


def wave(samples: int, seed: int = 0) -> torch.Tensor:
    return (torch.randn(samples, generator=torch.Generator().manual_seed(seed)) * 3000).to(torch.int16)


def shapes_of_layers(student: PaperStudent, run) -> dict[str, tuple[int, ...]]:
    shapes, hooks = {}, []
    for name, layer in student.named_children():
        hooks.append(
            layer.register_forward_hook(lambda _, __, out, name=name: shapes.__setitem__(name, tuple(out.shape[1:])))
        )
    run()
    for hook in hooks:
        hook.remove()
    return shapes


def test_the_layers_have_the_shapes_of_the_papers_table(paper_student):
    with torch.no_grad():
        shapes = shapes_of_layers(paper_student, lambda: paper_student(wave(WINDOW_SAMPLES)[None]))
    assert shapes == {  # VGGVox, VGG-M
        "conv1": (96, 254, 198),
        "mpool1": (96, 126, 98),
        "conv2": (256, 62, 48),
        "mpool2": (256, 30, 23),
        "conv3": (384, 30, 23),
        "conv4": (256, 30, 23),
        "conv5": (256, 30, 23),
        "mpool5": (256, 9, 11),
        "fc6": (4096, 1, 11),
        "pool6": (4096, 1, 1),
        "fc7": (1024,),
        "fc8": (8,),
    }


def test_the_paper_student_has_its_weights_and_he_deviations(paper_student):
    matrices = {name: p for name, p in paper_student.named_parameters() if p.ndim > 1}
    table = [(7, 7, 1, 96), (5, 5, 96, 256), (3, 3, 256, 384), (3, 3, 384, 256), (3, 3, 256, 256)]
    table += [(9, 1, 256, 4096), (1, 1, 4096, 1024), (1, 1, 1024, 8)]
    assert sum(p.numel() for p in matrices.values()) == sum(map(math.prod, table)) == 16_618_080  # "16.6 M"
    for weight in matrices.values():
        fan_in = weight[0].numel()
        assert weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.05)


@pytest.mark.parametrize(("seconds", "width"), list(enumerate([2, 5, 8, 11, 14, 17, 20, 23, 27, 30], start=1)))
def test_pool6_has_the_papers_width_for_each_clip_length(paper_student, seconds, width):
    """The layers before pool6 run on one channel each here: the same kernels, strides and pads in less time."""
    x = torch.zeros(1, 1, 512, 100 * seconds)
    for name in ("conv1", "mpool1", "conv2", "mpool2", "conv3", "conv4", "conv5", "mpool5", "fc6"):
        layer = getattr(paper_student, name)
        conv = layer[0] if isinstance(layer, torch.nn.Sequential) else None
        x = (
            layer(x)
            if conv is None
            else torch.nn.functional.conv2d(x, conv.weight[:1, :1], None, conv.stride, conv.padding)
        )
    assert x.shape == (1, 1, 1, width)


def published_start(frames: int, used: int) -> int:
    """compute_audio_feats.m: rstart = round((size(nSPEC, 2) - rsize) / 2) ; if rstart == 0, rstart = 1 (from 1)."""
    rstart = int(Decimal((frames - used) / 2).quantize(Decimal(1), ROUND_HALF_UP))
    return max(1, rstart) - 1


@pytest.mark.parametrize(
    ("samples", "frames"),
    [(16_240, 100), (16_560, 100), (32_239, 100), (32_240, 200), (WINDOW_SAMPLES, 400), (200_000, 1000)],
)
def test_a_clip_is_normalised_whole_then_cut_to_its_bucket(paper_student, monkeypatch, samples, frames):
    seen = []
    monkeypatch.setattr(
        paper_student, "outputs", lambda x: (seen.append(x), (torch.zeros(1, 8), torch.zeros(1, 1024)))[1]
    )
    clip = wave(samples)
    paper_student.logits_of_clip(clip)
    whole = paper_spectrogram(clip[None])
    start = published_start(whole.shape[2], frames)
    assert torch.equal(seen[0], whole[:, :, start : start + frames])


def test_the_paper_students_layers_in_plain_functions(paper_student):
    """VGGVox as in Derpimort/VGGVox-PyTorch vggm.py, written again; batch statistics are drawn so that they count."""
    weights = paper_student.state_dict()
    generator = torch.Generator().manual_seed(3)
    for name, tensor in weights.items():
        if name.endswith(("running_mean", "running_var", ".1.weight", ".1.bias")) and "fc7" not in name:
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    student = build_student(StudentConfig(kind="paper")).eval()
    student.load_state_dict(weights)

    def block(x, name, stride=1, padding=0):
        x = F.conv2d(x, weights[f"{name}.0.weight"], weights[f"{name}.0.bias"], stride, padding)
        mean, variance = (weights[f"{name}.1.running_{of}"][:, None, None] for of in ("mean", "var"))
        gain, shift = (weights[f"{name}.1.{of}"][:, None, None] for of in ("weight", "bias"))
        return F.relu((x - mean) / torch.sqrt(variance + 1e-5) * gain + shift)

    x = paper_spectrogram(wave(16_240)[None])[:, None]
    x = F.max_pool2d(block(x, "conv1", 2, 1), 3, 2)
    x = F.max_pool2d(block(x, "conv2", 2, 1), 3, 2)
    x = block(block(block(x, "conv3", 1, 1), "conv4", 1, 1), "conv5", 1, 1)
    x = block(F.max_pool2d(x, (5, 3), (3, 2)), "fc6")
    assert x.shape == (1, 4096, 1, 2)  # pool6 of a clip of one second averages two
    embedding = F.relu(F.linear(x.mean((2, 3)), weights["fc7.1.weight"], weights["fc7.1.bias"]))
    logits = F.linear(embedding, weights["fc8.weight"], weights["fc8.bias"])
    ours = student.outputs_of_clip(wave(16_240))
    torch.testing.assert_close(ours[0], logits[0], atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(ours[1], embedding[0], atol=1e-3, rtol=1e-4)


def test_the_paper_student_dithers_while_it_trains_and_answers_without():
    student = build_student(StudentConfig(kind="paper"))
    clip = wave(20_000)[None]
    assert not torch.equal(student.train().spectrogram(clip), student.spectrogram(clip))
    assert torch.equal(student.eval().spectrogram(clip), paper_spectrogram(clip))


@pytest.mark.parametrize("samples", [1, 1000, 16_000])
def test_a_short_clip_equals_the_same_clip_padded_with_zeros(compact_student, samples):
    clip = wave(samples)
    padded = torch.cat([clip, torch.zeros(16_240 - samples, dtype=torch.int16)])
    logits = compact_student.logits_of_clip(clip)
    assert torch.isfinite(logits).all() and torch.equal(logits, compact_student.logits_of_clip(padded))


def test_empty_and_malformed_clips_are_named(compact_student):
    with pytest.raises(ValueError, match="shape"):
        compact_student.logits_of_clip(torch.zeros(0))
    with pytest.raises(ValueError, match="shape"):
        compact_student.logits_of_clip(torch.zeros(2, 16_000))
    for bad, message in (
        (np.zeros(0), "shape"),
        (np.full(16_000, np.nan), "NaN"),
        (np.zeros(16_000, np.uint8), "uint8"),
    ):
        with pytest.raises(ValueError, match=message):
            compact_student.predict(bad, 16_000)
    with pytest.raises(ValueError, match="sample_rate"):
        compact_student.embed(np.zeros(16_000, np.float32), 0)


def test_a_window_and_the_same_clip_give_the_same_answer(compact_student):
    clip = wave(WINDOW_SAMPLES)
    with torch.no_grad():
        logits, embedding = compact_student(clip[None])
    torch.testing.assert_close(compact_student.logits_of_clip(clip), logits[0])
    assert embedding.shape == (1, 256) and logits.shape == (1, len(EMOTIONS))


def test_a_clip_is_judged_in_evaluation_mode_and_leaves_the_mode_as_it_was():
    torch.manual_seed(0)
    student = build_student(SMALL).train()
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    student.logits_of_clip(wave(40_000))
    assert student.training
    assert all(torch.equal(before[name], tensor) for name, tensor in student.state_dict().items())


def test_the_compact_student_takes_any_length_and_uses_its_centre_10_s(compact_student):
    assert compact_student.clip_frames(100) == 100
    assert compact_student.clip_frames(457) == 457
    assert compact_student.clip_frames(5000) == 1000
    assert 300_000 < sum(p.numel() for p in compact_student.parameters()) < 600_000


def test_any_rate_and_channel_order_give_the_same_prediction(compact_student):
    at_16k = np.cumsum(np.random.default_rng(0).normal(size=48_000)) * 1e-3
    at_16k = (at_16k - at_16k.mean()).astype(np.float32)
    expected = compact_student.predict(at_16k, 16_000)
    assert expected.shape == (8,) and expected.sum().item() == pytest.approx(1, abs=1e-5)
    stereo = np.stack([at_16k, at_16k])
    torch.testing.assert_close(compact_student.predict(stereo, 16_000), expected)
    torch.testing.assert_close(compact_student.predict(stereo.T, 16_000), expected)
    at_48k = resample_poly(at_16k.astype(np.float64), 3, 1).astype(np.float32)
    torch.testing.assert_close(compact_student.predict(at_48k, 48_000), expected, atol=0.03, rtol=0)
    assert compact_student.embed(torch.from_numpy(at_48k), 48_000).shape == (256,)


def test_real_speech_gives_finite_answers(compact_student, data_dir):
    import soundfile

    path = min((data_dir / "speech" / "ravdess").rglob("*.flac"))
    speech, rate = soundfile.read(path, dtype="float32")
    assert torch.isfinite(compact_student.embed(speech, rate)).all()
    assert compact_student.predict(speech, rate).sum().item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    "wrong", [{"kind": "large"}, {"pooling": "median"}, {"kind": "ssl", "bundle": "WHISPER"}], ids=str
)
def test_an_unknown_choice_is_named(wrong):
    with pytest.raises(ValueError, match=list(wrong.values())[-1]):
        StudentConfig(**wrong)
