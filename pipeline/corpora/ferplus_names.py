"""What corpora call the emotions of FER+."""

from modeling.emotions import EMOTIONS

OTHER_NAMES = {
    "happy": "happiness",
    "joy": "happiness",
    "surprised": "surprise",
    "sad": "sadness",
    "angry": "anger",
    "disgusted": "disgust",
    "fearful": "fear",
    "afraid": "fear",
}


def ferplus_emotion(name: str) -> str | None:
    """The emotion of FER+ that a corpus means; None for one that FER+ does not have, such as calm or boredom."""
    name = name.strip().lower()
    name = OTHER_NAMES.get(name, name)
    return name if name in EMOTIONS else None
