"""What a run is, written into its output folder, so that another run is never mixed in or written over."""

import json

from cluster import storage
from cluster.failures import UserError
from cluster.lease import FILE as LEASE_FILE

FILE = "identity.json"


def claim(output_uri: str, identity: dict, may_change: tuple[str, ...] = ()) -> None:
    """Marks the folder as the home of this run, or checks that it already is. `may_change`: names of which another value
    is taken over.

    Raises UserError, with nothing changed, if it holds another run or files that are not ours.
    """
    identity_uri = storage.join(output_uri, FILE)
    identity = json.loads(json.dumps(identity))  # as it will be read back: tuples are lists there
    if storage.exists(identity_uri):
        found = storage.read_json(identity_uri)
        differing = sorted(key for key in identity.keys() | found.keys() if identity.get(key) != found.get(key))
        if differing and set(differing) <= set(may_change):
            storage.write_json(identity_uri, identity)
        elif differing:
            changes = "; ".join(f"{key} was {found.get(key)!r}, now {identity.get(key)!r}" for key in differing)
            raise UserError(
                f"{output_uri} holds a different run ({changes}); choose another --out, or repeat its options"
            )
        return
    lease_uri = storage.join(output_uri, LEASE_FILE)
    if storage.exists(output_uri) and any(file.uri != lease_uri for file in storage.list_files(output_uri)):
        raise UserError(f"{output_uri} is not empty and is not the output of such a run; choose an empty or new --out")
    storage.write_json(identity_uri, identity)


def read_identity(output_uri: str) -> dict:
    """The identity of a finished or begun run. Raises UserError if the folder holds none."""
    identity_uri = storage.join(output_uri, FILE)
    if not storage.exists(identity_uri):
        raise UserError(f"{output_uri}: no run is there (no {FILE}); check the path")
    return storage.read_json(identity_uri)
