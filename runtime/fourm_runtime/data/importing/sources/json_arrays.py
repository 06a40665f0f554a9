"""A large JSON object of arrays, read item by item: where each item of each array lies, and no more, is held.

{"images": [{...}, {...}], "annotations": [{...}, ...]}
"""

import json
import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path

from fourm_schema.errors import DataError

_SIGNS = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)

Spot = tuple[int, int]
"""First byte, and the byte after the last."""


class JsonArrays:
    """A JSON file whose top is an object.

    Args:
        path: the file; it is mapped, not read.

    Raises:
        DataError: if there is no such file or it is empty.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise DataError(str(path), "there is no such file")
        with path.open("rb") as file:
            if not os.fstat(file.fileno()).st_size:
                raise DataError(str(path), "is empty")
            self._text = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def items(self) -> Iterator[tuple[str, Spot]]:
        """Every object that is an item of an array under a key of the top: (key, where it lies).

        Raises:
            DataError: if the file is no JSON object, or is cut off.
        """
        depth, start, key = 0, -1, ""
        opened = closed = False
        for sign in _SIGNS.finditer(self._text):
            first = sign[0][0]
            if first == 0x22:
                if depth == 1:
                    key = str(self._parse(sign.span()))
            elif first in b"{[":
                if depth == 0:
                    if first != 0x7B or opened:
                        break
                    opened = True
                elif depth == 2 and first == 0x7B:
                    start = sign.start()
                depth += 1
            else:
                depth -= 1
                if depth == 2 and start >= 0:
                    yield key, (start, sign.end())
                    start = -1
                closed = depth == 0
        if not opened or not closed:
            got = "something else" if not opened else "a file that ends before it is closed"
            raise DataError(str(self.path), "is no JSON object of arrays", got=got)

    def read(self, spot: Spot) -> dict[str, object]:
        """One item.

        Raises:
            DataError: if it is no JSON.
        """
        found = self._parse(spot)
        assert isinstance(found, dict), "only objects are found"
        return found

    def _parse(self, spot: Spot) -> object:
        try:
            return json.loads(self._text[spot[0] : spot[1]])
        except (ValueError, RecursionError) as error:
            raise DataError(f"{self.path} byte {spot[0]:,}", "is no JSON", got=str(error)) from None
