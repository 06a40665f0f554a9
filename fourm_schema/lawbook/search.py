"""Look for the smallest value that breaks a law."""

import hashlib
import traceback

import attrs
from hypothesis import HealthCheck, Phase, Verbosity, given, reject, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.errors import HypothesisException, Unsatisfiable, UnsatisfiedAssumption

from fourm_schema.lawbook.article import Article, Beside, Broken, SubjectT

FAST, THOROUGH = 5, 200
"""Examples of each law and modality; of large values, the fast profile draws `FAST_LARGE`."""

FAST_LARGE = 2
LARGE = 10_000
"""Numbers of one value from which on it is large."""

NOTHING_DRAWN = "no value that it speaks of was drawn"
"""Why a law was not tested that says no more of it."""

SLOW_IS_FINE = (
    HealthCheck.data_too_large,
    HealthCheck.filter_too_much,
    HealthCheck.large_base_example,
    HealthCheck.nested_given,
    HealthCheck.too_slow,
)
"""Large values are drawn slowly, and laws of rare values give most up; where none is left, that is told."""


@attrs.frozen
class Profile:
    """How thoroughly to look.

    Attributes:
        small: examples per law, of values of fewer than `LARGE` numbers.
        large: examples per law, of larger values.
        seed: of what is drawn.
    """

    small: int = FAST
    large: int = FAST_LARGE
    seed: int = 0

    @classmethod
    def of(cls, thorough: bool = False, examples: int | None = None, seed: int = 0) -> "Profile":
        """The profile that a user asks for; a number of examples goes before the rest."""
        if examples is not None:
            return cls(examples, examples, seed)
        return cls(THOROUGH, THOROUGH, seed) if thorough else cls(seed=seed)

    def examples(self, numbers: int) -> int:
        """How many examples of values that hold so many numbers."""
        return self.large if numbers >= LARGE else self.small


@attrs.frozen
class Outcome:
    """What became of one law on one subject.

    Attributes:
        law: its id.
        statement: what it says.
        subject: a modality, or `schema`.
        examples: how many were tried.
        fault: how it is broken, on the smallest value that was found; empty where it is kept.
        not_tested: why it was not tested; empty where it was.
    """

    law: str
    statement: str
    subject: str
    examples: int
    fault: str = ""
    not_tested: str = ""

    @property
    def kept(self) -> bool:
        return not self.fault and not self.not_tested


def search(law: Article[SubjectT], subject: SubjectT, name: str, examples: int, seed: int = 0) -> Outcome:
    """Try a law on values that Hypothesis draws; where one breaks it, find the smallest that does.

    The same law, subject and seed draw the same values, whatever else is tested.

    Args:
        law: what to try.
        subject: what it speaks of.
        name: of the subject.
        examples: how many to draw; one where the law draws nothing.
        seed: of what is drawn.
    """
    tried, fault, beside = 0, "", NOTHING_DRAWN

    @seeded(_seed_of(law.id, name, seed))
    @settings(
        max_examples=1 if law.once else examples,
        database=None,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=SLOW_IS_FINE,
        report_multiple_bugs=False,
        verbosity=Verbosity.quiet,
    )
    @given(st.data())
    def hold(data: st.DataObject) -> None:
        nonlocal tried, fault, beside
        try:
            law.check(subject, data.draw)
        except (HypothesisException, UnsatisfiedAssumption):
            raise
        except Beside as found:
            beside = str(found)
            reject()
        except Exception as error:
            # Hypothesis tries the smallest failing value last.
            fault = _told(error)
        else:
            tried += 1
            return
        raise Broken(fault)

    try:
        hold()
    except Broken:
        return Outcome(law.id, law.statement, name, tried + 1, fault)
    except Unsatisfiable:
        assert not tried, "an example that was tried is one that could be drawn"
    except HypothesisException as error:
        return Outcome(law.id, law.statement, name, tried, f"no value could be drawn: {error}")
    return Outcome(law.id, law.statement, name, tried, not_tested="" if tried else beside)


def _told(error: Exception) -> str:
    if isinstance(error, Broken):
        return str(error)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    what = str(error).splitlines()[0] if str(error) else "without a word"
    return f"{type(error).__name__} was raised: {what} ({frame.filename}, line {frame.lineno})"


def _seed_of(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:8])
