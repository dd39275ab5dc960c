"""The self-supervised student: a small trained head on torchaudio's wav2vec 2.0, HuBERT or WavLM, which stays frozen."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modeling.sampling import INT16_SCALE
from modeling.speech.spectrogram import in_int16_steps
from modeling.speech.ssl_front_end import FRONT_ENDS, front_end_network, front_end_size, wants_normalised_waveform
from modeling.students.base import MAX_SAMPLES, he_init
from modeling.students.configs import StudentConfig
from modeling.students.pooling import POOLED_CHANNELS, PooledStudent


class SslStudent(PooledStudent):
    """A learned mix of all layers of the front end, pooled over time: 0.3 M trained weights on 94 M to 317 M frozen ones.

    The front end stays in evaluation mode and gets no gradient. Its weights are random until `load_front_end` (called by
    `build_student`) or `load_state_dict`. Each layer is normalised before it is mixed, because the layers of the large
    networks differ in scale by orders of magnitude.
    """

    def __init__(self, config: StudentConfig):
        super().__init__()
        self.config = config
        layers, width = front_end_size(config.bundle)
        self.is_normalised = wants_normalised_waveform(config.bundle)
        self.layer_weights = nn.Parameter(torch.zeros(layers))
        self.projection = nn.Sequential(nn.Linear(width, POOLED_CHANNELS), nn.ReLU(inplace=True))
        self.add_head(config)
        he_init(self)  # only the head: the front end is added below
        self.front_end = front_end_network(FRONT_ENDS[config.bundle]).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "SslStudent":
        super().train(mode)
        self.front_end.eval()
        return self

    def spectrogram(self, wave_BT: Tensor) -> Tensor:
        """(B, 1, T): the waveform in [-1, 1], or, if the bundle wants it, with mean 0 and deviation 1 for each clip.

        torchaudio's own wrapper normalises over the whole batch, so clips would change each other's answers.
        """
        wave_BT = in_int16_steps(wave_BT) / INT16_SCALE
        return (F.layer_norm(wave_BT, wave_BT.shape[1:]) if self.is_normalised else wave_BT).unsqueeze(1)

    @torch.no_grad()
    def layers(self, wave_B1T: Tensor) -> list[Tensor]:
        """The result of `spectrogram` -> (B, L, C) for each layer, L about 50 per second; torchaudio's `extract_features`."""
        return self.front_end.extract_features(wave_B1T.squeeze(1))[0]

    def outputs(self, spectrogram_BFL: Tensor) -> tuple[Tensor, Tensor]:
        layers = self.layers(spectrogram_BFL)
        shares = self.layer_weights.softmax(0)
        mixed_BLC = sum(share * F.layer_norm(x, x.shape[2:]) for share, x in zip(shares, layers, strict=True))
        return self.pooled_outputs(self.projection(mixed_BLC).transpose(1, 2))

    def clip_frames(self, frames: int) -> int:
        return min(MAX_SAMPLES, frames)
