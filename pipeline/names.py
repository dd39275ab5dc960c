"""Names that people wrote, of classes and speakers: one name has many byte strings, and is one all the same."""

import unicodedata

INVISIBLE = dict.fromkeys(map(ord, "\u00ad\u200b\u200e\u200f\u2060\ufeff"))
"""Soft hyphen, zero-width space, direction marks, word joiner, byte order mark: what a copy from a page brings along."""

QUOTES = "\"'`\u201e\u201a"
"""Beside those that Unicode has as opening and closing ones."""


def one_form(name: str) -> str:
    """The name in Unicode's composed form, without invisible characters and outer spaces, with one space between words."""
    return " ".join(unicodedata.normalize("NFC", name).translate(INVISIBLE).split())


def likeness(name: str) -> str:
    """The same for two names that a person reads as one: capitals, width, quotes and all invisible characters do not count."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", one_form(name)).casefold())
    shown = "".join(letter for letter in folded if unicodedata.category(letter) != "Cf")
    quotes = QUOTES + "".join(letter for letter in shown if unicodedata.category(letter) in ("Pi", "Pf"))
    return " ".join(shown.split()).strip(f"{quotes} ")
