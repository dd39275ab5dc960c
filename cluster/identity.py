"""The identity of a run, written into its output folder so that no other run is mixed into it or overwrites it."""

from typing import Any

from cluster import storage
from cluster.failures import UserError
from cluster.json_values import json_ready
from cluster.lease import FILE as LEASE_FILE

FILE = "identity.json"


def claim(output_uri: str, identity: object, may_change: tuple[str, ...] = ()) -> None:
    """Marks the folder as the output of this run, or checks that it already is.

    identity: a dataclass or a mapping that `json_ready` takes. may_change: names whose values may differ from those
    already written; the new values replace them.

    Raises UserError, with nothing changed, if the folder holds another run or files that are not ours.
    """
    identity_uri = storage.join(output_uri, FILE)
    given: dict[str, Any] = json_ready(identity)  # as it will be read back, with lists for tuples
    if storage.exists(identity_uri):
        found = storage.read_json(identity_uri)
        differing = sorted(key for key in given.keys() | found.keys() if given.get(key) != found.get(key))
        if differing and set(differing) <= set(may_change):
            storage.write_json(identity_uri, given)
        elif differing:
            changes = "; ".join(f"{key} was {found.get(key)!r}, now {given.get(key)!r}" for key in differing)
            raise UserError(
                f"{output_uri} holds a different run ({changes}); choose another --out, or repeat its options"
            )
        return
    lease_uri = storage.join(output_uri, LEASE_FILE)
    if storage.exists(output_uri) and any(file.uri != lease_uri for file in storage.list_files(output_uri)):
        raise UserError(f"{output_uri} is not empty and is not the output of such a run; choose an empty or new --out")
    storage.write_json(identity_uri, given)


def read_identity(output_uri: str) -> dict[str, Any]:
    """The identity of the run in a folder, finished or not. Raises UserError if there is none."""
    identity_uri = storage.join(output_uri, FILE)
    if not storage.exists(identity_uri):
        raise UserError(f"{output_uri}: no run is there (no {FILE}); check the path")
    return storage.read_json(identity_uri)
