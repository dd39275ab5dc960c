"""The colours of the emotions, on every page."""

from modeling.emotions import EMOTIONS

HUES = ("#d9d9d9", "#e69f00", "#f0e442", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#1a1a1a")
"""Okabe and Ito's colours for all kinds of colour vision (jfly.uni-koeln.de/color), with light grey for sky blue."""

COLOURS: dict[str, str] = dict(zip(EMOTIONS, HUES, strict=True))
