"""The record of a complete set, `OUT/utterances/_parts.json`: rows, bytes and seal (`part_file.py`) of each part.

It is written when the set is complete, and deleted before the set is changed. While it exists, the parts that it names are
the set, no fewer and no others. A set without it is not complete, or was written before there were records.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from cluster import storage
from cluster.failures import UserError
from cluster.storage import StoredFile
from pipeline.dataset.part_file import ChangedPart

FILE = "utterances/_parts.json"
"""Readers of tables skip a leading underscore."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PartRecord:
    """seal: None for a part from before there were seals, which cannot be checked."""

    rows: int
    size_bytes: int
    seal: str | None


Record = Mapping[str, PartRecord]
"""File name of a part -> its record."""


@dataclass(frozen=True)
class Part:
    """A part to be read. seal: the expected one; None if there is no record of it."""

    uri: str
    seal: str | None = None

    @property
    def name(self) -> str:
        return name_of(self.uri)


def name_of(part_uri: str) -> str:
    return part_uri.rpartition("/")[2]


def read_record(labels_uri: str) -> Record | None:
    """The set's record; None if it has none. Raises UserError if the file is not a record."""
    uri = storage.join(labels_uri, FILE)
    if not storage.exists(uri):
        return None
    try:
        return {name: PartRecord(**facts) for name, facts in storage.read_json(uri)["parts"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"{uri}: it is not the record that a set is written with; put it back, or delete it, and the set is read unchecked"
        ) from error


def write_record(labels_uri: str, record: Record) -> None:
    storage.write_json(storage.join(labels_uri, FILE), {"parts": dict(record)})


def delete_record(labels_uri: str) -> None:
    """Call before the set is changed."""
    uri = storage.join(labels_uri, FILE)
    if storage.exists(uri):
        storage.delete(uri)


def missing(record: Record, files: list[StoredFile]) -> list[str]:
    """Names of parts that are in the record but not in the folder."""
    return sorted(record.keys() - {name_of(file.uri) for file in files})


def foreign(record: Record, files: list[StoredFile]) -> list[str]:
    """URIs of parts that are in the folder but not in the record."""
    return sorted(file.uri for file in files if name_of(file.uri) not in record)


def checked_parts(labels_uri: str, files: list[StoredFile]) -> list[Part]:
    """The parts with their expected seals. Raises ChangedPart if one is missing or not in the record; logs how many have no
    seal."""
    record = read_record(labels_uri)
    if record is None:
        return [Part(file.uri) for file in files]
    again = "give the command that wrote the set again"
    if lost := missing(record, files):
        raise ChangedPart(
            f"{labels_uri}: {lost[0]} is missing ({len(lost)} of {len(record)} parts); put it back, or {again}, which makes "
            "it anew"
        )
    if strange := foreign(record, files):
        raise ChangedPart(
            f"{strange[0]}: the set was written without it ({len(strange)} such files); take it out, or {again}"
        )
    return [Part(file.uri, record[name_of(file.uri)].seal) for file in files]
