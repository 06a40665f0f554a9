"""Where a dataset lies: a folder of this machine, or a URI of an object store with what opens it."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Self

import attrs

from fourm_schema.errors import DataError

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/{1,2}(?!/)(.*)", re.DOTALL)


@attrs.frozen
class Location:
    """A place of a dataset.

    Attributes:
        uri: a path, or `s3://bucket/name.lance` and the like.
        options: storage options, as Lance takes them: `aws_region`, `aws_endpoint`, ...
    """

    uri: str
    options: Mapping[str, str] = attrs.field(factory=dict, hash=False)

    @classmethod
    def of(cls, place: "Path | str | Location", options: Mapping[str, str] | None = None) -> Self:
        """Understand a path or URI.

        >>> Location.of("s3://bucket/a.lance").folder is None
        True
        >>> Location.of(Path("s3://bucket/a.lance")).uri
        's3://bucket/a.lance'
        >>> Location.of("photos/a.lance").folder
        PosixPath('photos/a.lance')
        """
        if isinstance(place, Location):
            return cls(place.uri, place.options if options is None else options)
        # A path folds the two slashes of a URI into one.
        uri = _URI.fullmatch(str(place))
        text = f"{uri[1]}://{uri[2]}" if uri else str(place)
        return cls(text, dict(options or {}))

    @property
    def folder(self) -> Path | None:
        """The folder, if it is one of this machine's own."""
        return None if _URI.fullmatch(self.uri) else Path(self.uri)

    def __str__(self) -> str:
        return self.uri


def read_options(pairs: Iterable[str]) -> dict[str, str]:
    """Storage options of a command line: `key=value` each.

    Raises:
        DataError: if one has no `=`, or is given twice.

    >>> read_options(["aws_region=eu-west-1", "aws_endpoint=http://localhost:9000/?a=b"])
    {'aws_region': 'eu-west-1', 'aws_endpoint': 'http://localhost:9000/?a=b'}
    """
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        # What stands behind the sign may be a secret: messages show the key alone.
        if not (equals and key.strip()):
            raise DataError("--storage-option", "is written key=value", got=f"{key!r} without a value")
        if key.strip() in found:
            raise DataError("--storage-option", "is given twice", got=key.strip())
        found[key.strip()] = value
    return found
