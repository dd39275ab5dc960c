"""Names of classes and speakers as people write them: the same name can have many byte strings."""

import unicodedata

INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200e\u200f\u2060\ufeff"))
"""Soft hyphen, zero-width space, direction marks, word joiner, byte order mark, which text copied from a page may contain."""

QUOTES = "\"'`\u201e\u201a"
"""In addition to Unicode's opening and closing quotes."""


def one_form(name: str) -> str:
    """The name in Unicode's composed form, without invisible characters and outer spaces, with one space between words."""
    return " ".join(unicodedata.normalize("NFC", name).translate(INVISIBLE).split())


def likeness(name: str) -> str:
    """A string that is equal for two names that a person reads as the same: capitals, width, quotes and all invisible
    characters do not matter."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", one_form(name)).casefold())
    shown = "".join(letter for letter in folded if unicodedata.category(letter) != "Cf")
    quotes = QUOTES + "".join(letter for letter in shown if unicodedata.category(letter) in ("Pi", "Pf"))
    return " ".join(shown.split()).strip(f"{quotes} ")
