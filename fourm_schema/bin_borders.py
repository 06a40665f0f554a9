"""Where the bins of a number lie: of equal width, of equal ratio, or between borders of their own."""

import math

from fourm_schema.set_fields import BoxField, NumberField, PointField, VectorField


def bin_borders(low: float, high: float, bins: int, log: bool = False) -> tuple[float, ...]:
    """Borders of bins of equal width, or of equal ratio, both ends included.

    >>> bin_borders(0, 1, 4)
    (0, 0.25, 0.5, 0.75, 1)
    """
    if log:
        # The ratio itself need not be a float.
        ratio = math.log(high) - math.log(low)
        inner = [math.exp(math.log(low) + ratio * (k / bins)) for k in range(1, bins)]
    else:
        inner = [low + (high - low) * (k / bins) for k in range(1, bins)]
    return (low, *inner, high)


def field_borders(field: NumberField | PointField | VectorField | BoxField) -> tuple[float, ...]:
    """Borders of the bins of a declared field."""
    if isinstance(field, NumberField):
        if field.edges is not None:
            return field.edges
        assert field.range is not None, "a number has a range or edges"
        return bin_borders(*field.range, field.bins, log=field.scale == "log")
    return bin_borders(*field.range, field.bins)
