"""Reading Python's numbers into arrays: the same numbers, and what is no number is none."""

from decimal import Decimal
from fractions import Fraction

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from fourm_codecs.python_numbers import float_lists, floats_of
from fourm_codecs.set_values import number_of, numbers_of
from fourm_schema.errors import CodecError

PLAIN = st.floats() | st.integers(-(2**70), 2**70)
SCALARS = [np.float64(2.5), np.float32(0.1), np.bool_(1)]
ODD = st.sampled_from([True, None, "1.5", b"g12345678", Decimal(1), Fraction(1, 3), *SCALARS])


def read(numbers: list[object]) -> list[float] | None:
    """What one finds by asking each."""
    try:
        return [number_of(number, "") for number in numbers]
    except CodecError:
        return None


@given(st.lists(PLAIN | ODD, max_size=5))
@example([10**400])
@example([b"g12345678g12345678"])
def test_numbers_read_together_are_those_read_one_by_one(numbers: list[object]) -> None:
    """Bit for bit; truth values, texts and other classes of numbers are refused as they are alone."""
    found, alone = floats_of(numbers), read(numbers)

    assert (found is None) == (alone is None)
    assert found is None or found.tolist() == alone


@given(st.lists(st.lists(st.floats(), min_size=2, max_size=3) | st.tuples(PLAIN | ODD, PLAIN), max_size=4))
def test_lists_read_together_are_those_read_one_by_one(lists: list[object]) -> None:
    """A list of another length is none, whatever the total."""
    found = float_lists(lists, 2)
    try:
        alone = [numbers_of(numbers, 2, "") for numbers in lists]
    except CodecError:
        assert found is None
        return

    assert found is not None and found.tolist() == alone


def test_arrays_among_lists_are_read_and_dicts_are_not() -> None:
    """As records come from a file, or from NumPy."""
    found = float_lists([[1.0, 2.0], np.array([3.0, 4.0]), (5, 6)], 2)

    assert found is not None and found.tolist() == [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    assert float_lists([{0.5: 1, 0.25: 2}], 2) is None
    assert float_lists([np.zeros((2, 2))], 2) is None
