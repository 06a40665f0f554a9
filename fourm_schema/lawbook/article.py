"""One law: what it says, of what it speaks, and how it is checked on what Hypothesis draws.

A law is one small function. Its name is the law's id, the first line of its docstring what it says; it draws
what it needs, and raises `Broken` with a message for people.
"""

from collections.abc import Callable
from typing import Generic, Protocol, TypeVar, overload

import attrs
from hypothesis import strategies as st

DrawnT = TypeVar("DrawnT")
SubjectT = TypeVar("SubjectT")


class Draw(Protocol):
    """Draws one value of a strategy."""

    def __call__(self, strategy: st.SearchStrategy[DrawnT], /) -> DrawnT: ...


class Broken(AssertionError):
    """A law does not hold.

    Args:
        message: how, and on which value, in words.
    """


class Beside(Exception):
    """What was drawn is none of the things a law speaks of; another is drawn.

    Args:
        reason: why, in words; told where nothing else was drawn.
    """


Check = Callable[[SubjectT, Draw], None]


@attrs.frozen
class Article(Generic[SubjectT]):
    """One law.

    Attributes:
        id: its name, e.g. `batch-is-single`.
        statement: what it says, in one sentence.
        check: draws what it needs, and raises `Broken` where the law does not hold.
        applies: whether it speaks of a subject.
        once: it draws nothing, so one case is all there is.
    """

    id: str
    statement: str
    check: Check[SubjectT]
    applies: Callable[[SubjectT], bool]
    once: bool = False


@overload
def article(*, once: bool = False) -> Callable[[Check[SubjectT]], Article[SubjectT]]: ...
@overload
def article(
    applies: Callable[[SubjectT], bool], *, once: bool = False
) -> Callable[[Check[SubjectT]], Article[SubjectT]]: ...
def article(
    applies: Callable[[SubjectT], bool] = lambda subject: True, *, once: bool = False
) -> Callable[[Check[SubjectT]], Article[SubjectT]]:
    """Make a law of a function.

    Args:
        applies: whether the law speaks of a subject.
        once: the function draws nothing.
    """

    def make(check: Check[SubjectT]) -> Article[SubjectT]:
        statement = (check.__doc__ or "").partition("\n\n")[0]
        return Article(
            getattr(check, "__name__", "").replace("_", "-"),
            " ".join(statement.split()),
            check,
            applies,
            once,
        )

    return make


def require(holds: object, message: str | Callable[[], str]) -> None:
    """Say that a law is broken where something does not hold.

    Args:
        holds: what should be true.
        message: how the law is broken; called only where it is.

    Raises:
        Broken: if it does not hold.
    """
    if not holds:
        raise Broken(message if isinstance(message, str) else message())


def only_where(holds: object, reason: str) -> None:
    """Give up an example that the law does not speak of, and say why; as `hypothesis.assume`, with words.

    Args:
        holds: what should be true of what was drawn.
        reason: what is lacking, for a schema all of whose examples are given up.

    Raises:
        Beside: if it does not hold.
    """
    if not holds:
        raise Beside(reason)
