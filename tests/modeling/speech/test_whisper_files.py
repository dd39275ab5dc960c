"""The same weights in every published form, and files that are cut, damaged, foreign or of another model."""

import numpy as np
import pytest
import torch

from modeling.speech.whisper_files import cut_file, read_encoder
from tests.support.small_whisper import (
    NAME,
    ctranslate2_file,
    ctranslate2_tensors,
    encoder,
    hugging_face_file,
    openai_file,
    small_size,
)


@pytest.fixture(autouse=True)
def small_model():
    with small_size():
        yield


FORMS = {
    "CTranslate2": lambda network: ctranslate2_file(ctranslate2_tensors(network)),
    "OpenAI": openai_file,
    "Hugging Face": hugging_face_file,
    "our own cut": lambda network: cut_file(network, NAME),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_model_gives_the_same_first_layers(form):
    read = read_encoder(FORMS[form](encoder()), NAME, 2)
    assert len(read.blocks) == 2
    assert read.fingerprint() == encoder(layers=2).fingerprint()
    for name, tensor in encoder(layers=2).state_dict().items():
        assert torch.equal(read.state_dict()[name], tensor)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kept", [0, 3, 100, 0.5, 0.999])
def test_a_file_cut_short_is_refused(form, kept):
    content = FORMS[form](encoder())
    cut = content[: kept if isinstance(kept, int) else round(kept * len(content))]
    with pytest.raises(ValueError, match=r"cut short|damaged|not the weights|cut"):
        read_encoder(cut, NAME, 2)


@pytest.mark.parametrize("form", FORMS)
def test_a_file_of_another_size_is_refused_with_what_differs(form):
    with pytest.raises(ValueError, match=r"\(384|instead of|rows"):
        read_encoder(FORMS[form](encoder()), "tiny", 2)


def test_layers_that_the_model_or_the_file_does_not_have_are_refused():
    with pytest.raises(ValueError, match=r"4 layers: the encoder of small has 3; choose 1 to 3"):
        read_encoder(openai_file(encoder()), NAME, 4)
    with pytest.raises(ValueError, match=r"missing \(blocks\.1"):
        read_encoder(cut_file(encoder(layers=1), NAME), NAME, 2)


def foreign() -> dict[str, tuple[bytes, str]]:
    tensors = ctranslate2_tensors(encoder())
    quantised = tensors | {"encoder/layer_0/ffn/linear_0/weight": np.zeros((512, 128), np.int8)}
    damaged = tensors | {"encoder/conv1/bias": np.full(128, np.nan, np.float16)}
    return {
        "text": (b"<html>404</html>", "neither a Whisper of CTranslate2"),
        "another version": (ctranslate2_file(tensors, version=5), "neither a Whisper of CTranslate2"),
        "another kind": (ctranslate2_file(tensors, kind="TransformerSpec"), "of the kind TransformerSpec"),
        "bytes behind the end": (ctranslate2_file(tensors) + b"1234", "4 bytes behind the end"),
        "quantised": (ctranslate2_file(quantised), "quantised"),
        "not finite": (ctranslate2_file(damaged), "NaN or infinity"),
        "a tensor missing": (
            ctranslate2_file({name: array for name, array in tensors.items() if "conv2/bias" not in name}),
            r"1 missing \(conv2\.bias\)",
        ),
    }


@pytest.mark.parametrize("kind", foreign())
def test_a_foreign_file_is_refused_with_what_it_is(kind):
    content, said = foreign()[kind]
    with pytest.raises(ValueError, match=said):
        read_encoder(content, NAME, 2)
