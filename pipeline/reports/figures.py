"""Pictures of the report as data URIs: probabilities over time, spectrograms, training curves.

Shape letters: N values or samples, E = 8 emotions, F frequencies, T spectrogram columns. Time axes have no
text: the page writes it, so that it stays readable when the pictures shrink to the width of a phone.
"""

import base64
import contextlib
import io
import re
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from scipy import signal

from pipeline.reports.colours import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WINDOW_S, HOP_S = 0.025, 0.010
"""Window and hop of the spectrogram, as in the student's input (VGGVox mfcc/mfccspec.m)."""
LEVELS_DB = 65
SPECTROGRAM_PX = (480, 96)
GREYS = 32

STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "emovox",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@contextlib.contextmanager
def styled() -> Generator[None]:
    """Gives figures that are made and saved inside the block the style of our pages."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        yield


def new_figure(width_in: float, height_in: float) -> "tuple[Figure, Axes]":
    """A figure without pyplot's global state, and its single axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width_in, height_in))
    return figure, figure.add_subplot()


def svg_uri(figure: "Figure", *, stretch: bool = False) -> str:
    """The figure as SVG in a data URI. `stretch`: it has no text and may be stretched to the size that the page gives it."""
    sink = io.BytesIO()
    figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    svg = sink.getvalue()
    if stretch:
        svg = svg.replace(b"<svg ", b'<svg preserveAspectRatio="none" ', 1)
        svg = re.sub(rb"(\d\.\d\d)\d+", rb"\1", svg)  # a hundredth of a point is finer than any screen
    return data_uri("image/svg+xml", svg)


def stacked_probabilities(edges_s: np.ndarray, probabilities_NE: np.ndarray, duration_s: float) -> str:
    """Stacked areas in steps, one colour per emotion, on the axis [0, duration_s].

    edges_s: (N+1,), value k holds from edge k to edge k+1; rows of NaN and times outside the edges stay empty.
    """
    tops_NE = np.cumsum(probabilities_NE, axis=1)
    bottoms_NE = tops_NE - probabilities_NE
    with styled():
        figure, axes = new_figure(8, 1)
        axes.set_position((0, 0, 1, 1))
        axes.set(xlim=(0, duration_s), ylim=(0, 1))
        axes.axis("off")
        line: Any = {"fill": True, "edgecolor": "white", "linewidth": 0.5}
        for column, colour in enumerate(COLOURS.values()):
            axes.stairs(tops_NE[:, column], edges_s, baseline=bottoms_NE[:, column], facecolor=colour, **line)
        return svg_uri(figure, stretch=True)


def spectrogram_levels(speech_N: np.ndarray, rate_hz: int) -> np.ndarray:
    """uint8 (F, T), row 0 the highest frequency: log magnitude, 255 for the loudest point, 0 for 65 dB below it."""
    window = round(WINDOW_S * rate_hz)
    _, _, magnitudes_FT = signal.stft(speech_N, rate_hz, "hamming", window, window - round(HOP_S * rate_hz))
    levels_FT = 20 * np.log10(np.abs(magnitudes_FT) + 1e-10)
    levels_FT = np.clip(1 + (levels_FT - levels_FT.max()) / LEVELS_DB, 0, 1)
    return np.round(255 * levels_FT[::-1]).astype(np.uint8)


def spectrogram(speech_N: np.ndarray, rate_hz: int) -> str:
    """Grey PNG of the whole sound: dark is loud, 0 Hz is at the bottom, half the sampling rate at the top."""
    levels_FT = spectrogram_levels(speech_N, rate_hz)
    width, height = SPECTROGRAM_PX
    small_FT = cv2.resize(levels_FT, (min(width, levels_FT.shape[1]), height), interpolation=cv2.INTER_AREA)
    step = 255 / (GREYS - 1)  # few greys make a small file
    greys_FT = 255 - np.round(small_FT / step) * step
    _, png = cv2.imencode(".png", greys_FT.astype(np.uint8), [cv2.IMWRITE_PNG_COMPRESSION, 9])
    return data_uri("image/png", png.tobytes())


def training_curve(epochs: list[int], values: list[float], label: str) -> str:
    """One line over the epochs, with labelled axes."""
    from matplotlib.ticker import MaxNLocator

    with styled():
        figure, axes = new_figure(4.4, 2.5)
        axes.plot(
            epochs, values, color="#0072b2", linewidth=1.6, marker="o" if len(epochs) <= 40 else None, markersize=3
        )
        axes.set(xlabel="epoch", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(axis="y", color="#e5e5e5", linewidth=0.8)
        axes.set_axisbelow(True)
        figure.set_layout_engine("constrained")
        return svg_uri(figure)
