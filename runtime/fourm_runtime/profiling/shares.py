"""Shares in words."""


def percent(count: int, total: int) -> str:
    """A share, as few digits as tell it from nothing and from all.

    >>> percent(3, 100), percent(1, 100_000), percent(99_999, 100_000), percent(5, 5)
    ('3 %', '0.001 %', '99.999 %', '100 %')
    """
    share = 100 * count / max(total, 1)
    if count in (0, total) or 1 <= share <= 99:
        return f"{share:.0f} %"
    return f"{float(f'{share:.1g}'):g} %" if share < 1 else f"{100 - float(f'{100 - share:.1g}'):g} %"


def count_of(count: int, total: int, unit: str) -> str:
    """A count, and what share of all it is.

    >>> count_of(30, 1000, "samples")
    '30 of 1,000 samples (3 %)'
    """
    return f"{count:,} of {total:,} {unit} ({percent(count, total)})"
