"""What may not be written down of an address: signatures, tokens and passwords that let anybody in who reads them."""

import re
from collections.abc import Mapping
from typing import Any, cast

HIDDEN = "HIDDEN"
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")


def redacted(text: str) -> str:
    """The text with the values of each URL's query, its fragment and its password hidden; names and path stay. A key on an object
    store is no query: `s3://` and `file://` keep what follows a question mark."""
    return _URL.sub(lambda found: _redacted_url(found[0]), text)


def _redacted_url(url: str) -> str:
    scheme, _, rest = url.partition("://")
    place, slash, below = rest.partition("/")
    user, at, host = place.rpartition("@")
    if at and ":" in user:
        place = f"{user.partition(':')[0]}:{HIDDEN}@{host}"
    if scheme.lower() in ("s3", "file"):
        return f"{scheme}://{place}{slash}{below}"
    return re.sub(r"([?&#;])([^=&;#]*)=[^&;#]*", rf"\1\2={HIDDEN}", f"{scheme}://{place}{slash}{below}")


def redacted_values(value: Any) -> Any:
    """The same for every text in dicts, lists and tuples, keys included."""
    match value:
        case str():
            return redacted(value)
        case Mapping():
            items = cast(Mapping[Any, Any], value).items()
            return {redacted_values(key): redacted_values(item) for key, item in items}
        case list() | tuple():
            return type(value)(map(redacted_values, cast(list[Any], value)))
        case _:
            return value
