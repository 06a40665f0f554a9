"""Names of many files in one: `shard-{0000..0009}.tar`, `part-{a,b}.tar`, `[rgb,depth]/...`, `*.parquet`."""

import glob
import itertools
import re
from collections.abc import Iterator
from pathlib import Path

from fourm_schema.errors import DataError

_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_BRACKETS = re.compile(r"\[([^\[\]]*,[^\[\]]*|[^\[\]]{2,})\]")

_MOST = 10_000_000


def expand_braces(pattern: str) -> list[str]:
    """Names that a pattern with braces stands for, as a shell gives them.

    >>> expand_braces("s-{08..10}.tar")
    ['s-08.tar', 's-09.tar', 's-10.tar']
    >>> expand_braces("{a,b}{0..1}")
    ['a0', 'a1', 'b0', 'b1']

    Raises:
        DataError: if a range runs backwards, or they are too many.
    """
    pieces = _BRACES.split(pattern)
    choices = [
        [piece] if number % 2 == 0 else _choices(piece, pattern) for number, piece in enumerate(pieces)
    ]
    count = 1
    for some in choices:
        count *= len(some)
    if count > _MOST:
        raise DataError(pattern, f"stands for more than {_MOST:,} names", got=f"{count:,}")
    return ["".join(parts) for parts in itertools.product(*choices)]


def expand_brackets(pattern: str) -> dict[str, str] | None:
    """Modality -> pattern of its files; None where the pattern has no brackets.

    >>> expand_brackets("[rgb,depth]/shard-{0..9}.tar")
    {'rgb': 'rgb/shard-{0..9}.tar', 'depth': 'depth/shard-{0..9}.tar'}
    """
    found = _BRACKETS.search(pattern)
    if found is None:
        return None
    names = [name.strip() for name in found[1].split(",") if name.strip()]
    return {name: pattern[: found.start()] + name + pattern[found.end() :] for name in names}


def files_of(pattern: str, ending: str | tuple[str, ...]) -> list[Path]:
    """Files that a path, a folder or a pattern stands for, in order.

    Args:
        pattern: a file, a folder of such files, or a pattern with braces or stars.
        ending: how their names end.

    Raises:
        DataError: if one that is named is not there, or there are none.
    """
    endings = (ending,) if isinstance(ending, str) else ending
    if Path(pattern).is_dir():
        found = sorted(file for file in Path(pattern).iterdir() if file.name.endswith(endings))
    elif Path(pattern).is_file():
        found = [Path(pattern)]
    else:
        found = list(itertools.chain.from_iterable(map(_globbed, expand_braces(pattern))))
    missing = [str(file) for file in found if not file.is_file()]
    if missing:
        more = f" and {len(missing) - 3:,} more" if len(missing) > 3 else ""
        raise DataError(pattern, "names files that are not there", got=", ".join(missing[:3]) + more)
    if not found:
        raise DataError(pattern, f"names no file that ends in {' or '.join(endings)}")
    return found


def is_pattern(path: str) -> bool:
    """Whether a path stands for several, rather than for what has exactly this name."""
    return not Path(path).exists() and any(sign in path for sign in "{*?[")


def _choices(inside: str, pattern: str) -> list[str]:
    found = _RANGE.fullmatch(inside)
    if found is None:
        return inside.split(",")
    first, last = int(found[1]), int(found[2])
    if first > last:
        raise DataError(pattern, "a range runs upwards", got=f"{{{inside}}}")
    if last - first >= _MOST:
        raise DataError(pattern, f"stands for more than {_MOST:,} names", got=f"{{{inside}}}")
    return [f"{number:0{len(found[1])}d}" for number in range(first, last + 1)]


def _globbed(name: str) -> Iterator[Path]:
    if Path(name).exists() or not any(sign in name for sign in "*?["):
        yield Path(name)
        return
    yield from map(Path, sorted(glob.glob(name)))
