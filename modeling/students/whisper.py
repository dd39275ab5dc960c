"""A student on Whisper: a linear head on the mean and deviation over time of one layer of its encoder.

Shape letters: B clips, F mel bands, L frames of 10 ms, P positions of 20 ms, C channels, W windows, D = 2 C, E = 8 emotions.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from modeling.emotions import EMOTIONS
from modeling.speech.whisper import POSITIONS_PER_SECOND, WhisperEncoder, whisper_mel
from modeling.students.base import MAX_FRAMES, Student
from modeling.students.configs import WhisperConfig

VARIANCE_FLOOR = 1e-4
FRONT_END = "front_end."
"""What the names of the front end's weights begin with; the student's file does not hold them."""


class WhisperStudent(Student):
    """Windows of a clip are pooled one by one; the embedding is the mean over them, and the logits are linear in it.

    So the logits of a clip are the mean of those of its windows. The head is zero until it is trained or read.
    whisper: the config.
    """

    def __init__(self, config: WhisperConfig, front_end: WhisperEncoder):
        super().__init__()
        self.config = self.whisper = config
        self.front_end = front_end
        self.classifier = nn.Linear(2 * front_end.size.width, len(EMOTIONS))
        nn.init.zeros_(self.classifier.weight)
        nn.init.zeros_(self.classifier.bias)
        self.window = round(config.window_s * POSITIONS_PER_SECOND)
        self.hop = round(config.hop_s * POSITIONS_PER_SECOND)

    def spectrogram(self, wave_BT: Tensor) -> Tensor:
        """(B, 80, L), or 128 bands for the large models of version 3."""
        return whisper_mel(wave_BT, self.front_end.size.bands)

    def window_features(self, spectrogram_BFL: Tensor) -> Tensor:
        """(B, F, L) of a window at least -> mean and deviation over each window, (B, W, D)."""
        x_BCP = self.front_end(spectrogram_BFL).transpose(1, 2)
        mean_BCW = F.avg_pool1d(x_BCP, self.window, self.hop)
        variance_BCW = F.avg_pool1d(x_BCP.square(), self.window, self.hop) - mean_BCW.square()
        return torch.cat([mean_BCW, variance_BCW.clamp_min(VARIANCE_FLOOR).sqrt()], 1).transpose(1, 2)

    def outputs(self, spectrogram_BFL: Tensor) -> tuple[Tensor, Tensor]:
        embedding_BD = self.window_features(spectrogram_BFL).mean(1)
        return self.classifier(embedding_BD), embedding_BD

    def clip_frames(self, frames: int) -> int:
        return min(MAX_FRAMES, frames)

    def stored_state(self) -> dict[str, Tensor]:
        """The head alone."""
        return {name: tensor for name, tensor in self.state_dict().items() if not name.startswith(FRONT_END)}
