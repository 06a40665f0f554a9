"""Names that a schema takes, made from whatever files, columns and keys are called."""

import re
import unicodedata
from collections.abc import Iterable

LONGEST = 64


def plain_name(text: str) -> str:
    """Mend a text into the name of a modality or field.

    >>> plain_name("Left Camera"), plain_name("isCrowd"), plain_name("3d-pose"), plain_name("画像")
    ('left_camera', 'is_crowd', 'm_3d_pose', 'modality')
    """
    ascii_only = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", ascii_only).lower())
    name = "_".join(words) or "modality"
    return (name if name[0].isalpha() else f"m_{name}")[:LONGEST].rstrip("_")


class Names:
    """Gives each thing a name of its own; the same things in the same order get the same names.

    Args:
        taken: names that nothing gets.
    """

    def __init__(self, taken: Iterable[str] = ()) -> None:
        self._taken = set(taken)

    def take(self, text: str) -> str:
        """The mended name, with a number behind it if it is taken."""
        base = name = plain_name(text)
        number = 1
        while name in self._taken:
            number += 1
            name = f"{base[: LONGEST - 8].rstrip('_')}_{number}"
        self._taken.add(name)
        return name


def is_text(value: str) -> bool:
    """Whether a string can stand in a file: half a surrogate pair cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


def printable(text: str, limit: int = 60) -> str:
    """A name from the disk as a comment may show it: on one line, and not too long.

    >>> printable("a\\nb.png"), printable("x" * 70, limit=9)
    ('a\\\\x0ab.png', 'xxxx...xx')
    """
    clean = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    head = (limit - 2) // 2 + 1
    return clean if len(clean) <= limit else f"{clean[:head]}...{clean[len(clean) - (limit - 3 - head) :]}"


def listed(names: Iterable[str], most: int = 5) -> str:
    """A few names and how many more there are.

    >>> listed(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    shown = [printable(name) for name in names]
    more = f" and {len(shown) - most:,} more" if len(shown) > most else ""
    return ", ".join(shown[:most]) + more
