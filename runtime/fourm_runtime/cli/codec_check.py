"""Run a codec's law over values that Hypothesis draws from the schema entry."""

import attrs

from fourm_codecs.base import StoredCodec
from fourm_codecs.check import violations
from fourm_schema.errors import MissingExtraError
from fourm_schema.modality import Modality

BATCH = 3
"""Values encoded together: more than one, so that a codec whose ids depend on the batch is caught."""


@attrs.frozen
class CheckedCodec:
    """What became of one codec.

    Attributes:
        modality: whose codec it is.
        codec: its name.
        law: the law it states, in words.
        kept: no value broke it.
        faults: how the simplest values found break it.
    """

    modality: str
    codec: str
    law: str
    kept: bool
    faults: tuple[str, ...]


def check_codec(codec: StoredCodec, entry: Modality, examples: int) -> CheckedCodec:
    """Draw values of an entry and look for one that breaks the codec's law.

    Raises:
        MissingExtraError: if Hypothesis is not installed.
    """
    try:
        from hypothesis import HealthCheck, given, settings
        from hypothesis import strategies as st
    except ImportError:
        raise MissingExtraError("fourm codec check", "test") from None
    from fourm_codecs.strategies import values

    found: list[str] = []

    @settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=(
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
            HealthCheck.large_base_example,
        ),
    )
    @given(st.lists(values(entry), min_size=1, max_size=BATCH))
    def hold(drawn: list[object]) -> None:
        faults = violations(codec, drawn)
        if faults:
            # Hypothesis tries the simplest failing values last.
            found[:] = faults
            raise AssertionError

    try:
        hold()
    except AssertionError:
        assert found, "only a broken law ends the search early"
    return CheckedCodec(codec.modality, codec.name, codec.law.describe(), not found, tuple(found))
