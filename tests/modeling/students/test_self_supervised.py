"""torchaudio's own networks with random weights; the small ones have the layers of the published ones, narrower."""

import io

import numpy as np
import pytest
import torch
from scipy.special import softmax
from torchaudio.models import wav2vec2_model

from modeling.speech.ssl_front_end import FRONT_ENDS, front_end_network
from modeling.students.build import StudentConfig, build_student
from modeling.students.checkpoint import load_student, save_student
from tests.support.small_front_ends import BUILDERS, PARAMETERS, SMALL, file_of, published, small_bundles_known


@pytest.fixture(autouse=True)
def small_bundles():
    with small_bundles_known():
        yield


def ssl_student(name: str = "SMALL_WAV2VEC2", **config):
    torch.manual_seed(1)
    config = StudentConfig(kind="ssl", bundle=name, embedding=24, **config)
    return build_student(config, file_of(published(name).state_dict())).eval()


def speech(clips: int, samples: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    return (torch.randn(clips, samples, generator=generator) * 2000 + 300).to(torch.int16)


@pytest.mark.parametrize("name", SMALL)
def test_the_layers_are_those_of_torchaudio_with_the_files_weights(name):
    student, clips = ssl_student(name).train(), speech(2, 20_000)
    waves = clips.numpy() / 32768
    if name == "SMALL_WAVLM":
        waves = (waves - waves.mean(1, keepdims=True)) / np.sqrt(waves.var(1, keepdims=True) + 1e-5)
    with torch.no_grad():
        expected, _ = published(name).extract_features(torch.from_numpy(waves).float())
    ours = student.layers(student.spectrogram(clips))
    assert len(ours) == len(expected) == BUILDERS[name][1]["encoder_num_layers"]
    for layer, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(layer, other, atol=1e-4, rtol=1e-4)


def test_the_layers_are_mixed_by_the_softmax_of_their_weights():
    student, clips = ssl_student(), speech(2, 20_000)
    with torch.no_grad():
        student.layer_weights.copy_(torch.tensor([0.5, -1.0, 2.0]))
    seen = []
    student.projection.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        student(clips)
        layers = np.stack([layer.numpy() for layer in student.layers(student.spectrogram(clips))])
    layers = (layers - layers.mean(3, keepdims=True)) / np.sqrt(layers.var(3, keepdims=True) + 1e-5)
    expected = (softmax([0.5, -1.0, 2.0])[:, None, None, None] * layers).sum(0)
    np.testing.assert_allclose(seen[0].numpy(), expected, atol=1e-4)


@pytest.mark.parametrize("pooling", ["attention", "mean", "max"])
def test_two_steps_move_the_head_and_nothing_of_the_front_end(pooling):
    student = ssl_student("SMALL_WAVLM", pooling=pooling).train()
    before = {name: tensor.clone() for name, tensor in student.state_dict().items()}
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-2, weight_decay=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        student(speech(4, 20_000))[0].logsumexp(1).square().sum().backward()
        optimizer.step()
    assert student.training and not any(module.training for module in student.front_end.modules())
    moved = {name for name, tensor in student.state_dict().items() if not torch.equal(tensor, before[name])}
    assert all(not name.startswith("front_end.") for name in moved)
    assert moved >= {name for name, _ in student.named_parameters() if not name.startswith("front_end.")} - {
        "pool.attention.2.bias"  # the softmax over time does not feel it
    }


@pytest.mark.parametrize("name", SMALL)
def test_a_clip_has_one_answer_alone_or_in_a_batch(name):
    student, clips = ssl_student(name), speech(3, 20_000)
    clips[1] //= 50
    with torch.no_grad():
        together, _ = student(clips)
    torch.testing.assert_close(student.logits_of_clip(clips[1]), together[1], atol=1e-4, rtol=1e-4)


def test_a_long_clip_is_cut_to_its_centre_10_s():
    student, clip = ssl_student(), speech(1, 200_001)[0]
    torch.testing.assert_close(student.logits_of_clip(clip), student.logits_of_clip(clip[20_000:180_000]))


@pytest.mark.parametrize("name", SMALL)
def test_silence_constants_and_very_short_sounds_stay_finite(name):
    student = ssl_student(name)
    for clip in (torch.zeros(1), torch.zeros(40_000), torch.full((40_000,), -1.0), torch.tensor([0.5, -0.5])):
        logits, embedding = student.outputs_of_clip(clip)
        assert torch.isfinite(logits).all() and torch.isfinite(embedding).all()


def test_a_saved_student_needs_no_other_file(tmp_path):
    student, clip = ssl_student("SMALL_WAVLM"), speech(1, 30_000)[0]
    save_student(student, tmp_path / "student.safetensors", {"front_end": {"sha256": "0" * 64}})
    loaded = load_student(tmp_path / "student.safetensors")
    assert loaded.config == student.config and loaded.meta == {"front_end": {"sha256": "0" * 64}}
    assert torch.equal(loaded.logits_of_clip(clip), student.logits_of_clip(clip))
    assert torch.equal(loaded.embed(clip, 16_000), student.embed(clip, 16_000))
    assert not any(parameter.requires_grad for parameter in loaded.front_end.parameters())


def test_a_file_from_before_torch_2_1_and_a_path_are_read(tmp_path):
    new = published("SMALL_WAVLM").state_dict()
    old = {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): tensor
        for name, tensor in new.items()
    }
    assert set(old) != set(new)
    path = tmp_path / "small_wavlm.pth"
    path.write_bytes(file_of(old))
    student = build_student(StudentConfig(kind="ssl", bundle="SMALL_WAVLM"), path)
    for name, tensor in student.front_end.state_dict().items():
        assert torch.equal(tensor, new[name])


def wrong_files() -> dict[str, tuple[bytes, str]]:
    """Content of a file given for SMALL_WAV2VEC2, and what must be said of it."""
    right = published("SMALL_WAV2VEC2").state_dict()
    damaged = {**right, "encoder.feature_projection.projection.bias": torch.full((16,), float("nan"))}
    narrow = wav2vec2_model(**{**PARAMETERS, "encoder_ff_interm_features": 12}).state_dict()
    return {
        "another bundle's": (
            file_of(published("SMALL_WAVLM").state_dict()),
            r"24 missing .*49 unexpected .*it looks like SMALL_WAVLM; fetch https://.*/small_wav2vec2\.pth",
        ),
        "HuggingFace": (file_of({"wavlm.feature_projection.projection.bias": torch.zeros(16)}), "HuggingFace"),
        "fairseq": (file_of({"args": None, "model": right}), r"keys \['args', 'model'\]"),
        "a tensor": (file_of(torch.zeros(3)), "a Tensor"),
        "a program": (file_of(io.BytesIO), "more than tensors"),
        "text": (b"<html>404</html>", "no PyTorch checkpoint"),
        "nothing": (b"", "no PyTorch checkpoint"),
        "half": (file_of(right)[:2000], "no PyTorch checkpoint"),
        "NaN": (file_of(damaged), r"1 with NaN or infinity \(encoder\.feature_projection"),
        "shapes": (file_of(narrow), r"of another shape .*\(12, 16\) instead of \(24, 16\)"),
    }


@pytest.mark.parametrize("kind", wrong_files())
def test_a_wrong_file_is_named_with_what_to_fetch(kind, tmp_path):
    content, said = wrong_files()[kind]
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"(?s)weights\.pth: .*{said}") as error:
        build_student(StudentConfig(kind="ssl", bundle="SMALL_WAV2VEC2"), path)
    assert "small_wav2vec2.pth" in str(error.value)


def test_weights_that_are_missing_or_in_the_wrong_place_are_asked_about():
    with pytest.raises(ValueError, match=r"small_wav2vec2\.pth"):
        build_student(StudentConfig(kind="ssl", bundle="SMALL_WAV2VEC2"))
    with pytest.raises(ValueError, match="'compact' has no front end"):
        build_student(StudentConfig(), b"weights")
    with pytest.raises(FileNotFoundError):
        build_student(StudentConfig(kind="ssl", bundle="SMALL_WAV2VEC2"), "none.pth")


@pytest.mark.slow
def test_a_base_wavlm_under_a_hubert_is_recognised_and_works_under_its_own():
    torch.manual_seed(0)
    weights = file_of(front_end_network(FRONT_ENDS["WAVLM_BASE_PLUS"]).state_dict())
    with pytest.raises(
        ValueError, match=r"looks like WAVLM_BASE or WAVLM_BASE_PLUS; fetch .*hubert_fairseq_base_ls960"
    ):
        build_student(StudentConfig(kind="ssl", bundle="HUBERT_BASE"), weights)
    student = build_student(StudentConfig(kind="ssl"), weights)
    sizes = [sum(p.numel() for p in student.parameters() if p.requires_grad == trained) for trained in (True, False)]
    assert sizes[0] < 400_000 and sizes[1] == 94_381_168
    assert student.predict(np.zeros(64_000, np.float32), 16_000).shape == (8,)
