"""Self-supervised networks with random weights and the layers of the published ones, but narrower."""

import contextlib
import io
from collections.abc import Generator
from unittest import mock

import torch
from torchaudio.models import wav2vec2_model, wavlm_model
from torchaudio.pipelines import Wav2Vec2Bundle

from modeling.speech.ssl_front_end import FRONT_ENDS
from modeling.students import configs

PARAMETERS = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [(8, 10, 5), *[(8, 3, 2)] * 4, *[(8, 2, 2)] * 2],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 16,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 8,
    "encoder_pos_conv_groups": 2,
    "encoder_num_layers": 3,
    "encoder_num_heads": 2,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 24,
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.3,
    "aux_num_out": None,
}


LARGER = {
    **PARAMETERS,
    "extractor_mode": "layer_norm",
    "encoder_num_layers": 4,
    "encoder_layer_norm_first": True,
    "encoder_num_buckets": 32,
    "encoder_max_distance": 80,
}


SMALL = {
    "SMALL_WAV2VEC2": Wav2Vec2Bundle("small_wav2vec2.pth", PARAMETERS, 16_000, False, "Wav2Vec2"),
    "SMALL_WAVLM": Wav2Vec2Bundle("small_wavlm.pth", LARGER, 16_000, True, "WavLM"),
}


BUILDERS = {"SMALL_WAV2VEC2": (wav2vec2_model, PARAMETERS), "SMALL_WAVLM": (wavlm_model, LARGER)}


@contextlib.contextmanager
def small_bundles_known() -> Generator[None]:
    """Inside the block a student may stand on one of `SMALL`."""
    with mock.patch.dict(FRONT_ENDS, SMALL), mock.patch.object(configs, "SSL_FRONT_ENDS", tuple(FRONT_ENDS)):
        yield


def published(name: str, seed: int = 0) -> torch.nn.Module:
    """A network from torchaudio's builders, in evaluation mode."""
    torch.manual_seed(seed)
    build, parameters = BUILDERS[name]
    return build(**parameters).eval()


def file_of(content) -> bytes:
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()
