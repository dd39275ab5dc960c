"""The paper's student: VGG-M with batch normalisation, as in VGGVox, on the 512-bin magnitude spectrogram."""

from torch import Tensor, nn

from modeling.emotions import EMOTIONS
from modeling.speech.spectrogram import paper_spectrogram
from modeling.students.base import MAX_FRAMES, MIN_FRAMES, Student, he_init
from modeling.students.configs import StudentConfig

EMBEDDING = 1024
BUCKET_FRAMES = 100
"""Clips are cut to whole multiples of this: 100, 200 ... 1000 (mcnCrossModalEmotions compute_audio_feats.m)."""


def _conv(inputs: int, outputs: int, kernel: int | tuple[int, int], stride: int = 1, padding: int = 0) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU. The convolution keeps its bias, as in MatConvNet and its ports."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


class PaperStudent(Student):
    """The layers of VGGVox with 8 outputs, from random weights, without dropout. Embedding: fc7 after its ReLU, 1024 values.

    fc7 has no batch normalisation: the sources do not say, and the PyTorch port of VGGVox (Derpimort/VGGVox-PyTorch
    vggm.py) has none. pool6 averages over the remaining width in time; the paper's ten clip lengths leave the paper's
    widths 2, 5, 8, 11, 14, 17, 20, 23, 27, 30.
    """

    def __init__(self, config: StudentConfig):
        super().__init__()
        self.config = config
        self.conv1 = _conv(1, 96, 7, 2, 1)
        self.mpool1 = nn.MaxPool2d(3, 2)
        self.conv2 = _conv(96, 256, 5, 2, 1)
        self.mpool2 = nn.MaxPool2d(3, 2)
        self.conv3 = _conv(256, 384, 3, 1, 1)
        self.conv4 = _conv(384, 256, 3, 1, 1)
        self.conv5 = _conv(256, 256, 3, 1, 1)
        self.mpool5 = nn.MaxPool2d((5, 3), (3, 2))
        self.fc6 = _conv(256, 4096, (9, 1))
        self.pool6 = nn.AdaptiveAvgPool2d(1)
        self.fc7 = nn.Sequential(nn.Flatten(), nn.Linear(4096, EMBEDDING), nn.ReLU(inplace=True))
        self.fc8 = nn.Linear(EMBEDDING, len(EMOTIONS))
        he_init(self)

    def spectrogram(self, wave_BT: Tensor) -> Tensor:
        """(B, T) -> (B, 512, L); in training with the original's dither, from torch's global generator.

        There is none at test time, so a clip has one answer. On RAVDESS it changed a bin by at most 0.0002 deviations.
        """
        return paper_spectrogram(wave_BT, dithered=self.training)

    def outputs(self, spectrogram_BFL: Tensor) -> tuple[Tensor, Tensor]:
        x = self.mpool1(self.conv1(spectrogram_BFL.unsqueeze(1)))
        x = self.mpool2(self.conv2(x))
        x = self.mpool5(self.conv5(self.conv4(self.conv3(x))))
        embedding_BD = self.fc7(self.pool6(self.fc6(x)))
        return self.fc8(embedding_BD), embedding_BD

    def clip_frames(self, frames: int) -> int:
        return max(MIN_FRAMES, min(MAX_FRAMES, frames // BUCKET_FRAMES * BUCKET_FRAMES))

    def clip_start(self, frames: int) -> int:
        """max(1, round(spare / 2)), counted from 1 and with halves rounded up, as in compute_audio_feats.m test_getinput."""
        return max(0, (frames - self.clip_frames(frames) + 1) // 2 - 1)
