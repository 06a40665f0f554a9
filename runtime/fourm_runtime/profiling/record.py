"""What a profile holds: plain records, from which tables, pages and JSON are made."""

from collections.abc import Mapping
from typing import Literal, TypeAlias

import attrs

Level = Literal["fault", "warning", "note"]

QUANTILES = (0.01, 0.25, 0.5, 0.75, 0.99)


@attrs.frozen
class Numbers:
    """Numbers of one kind.

    Attributes:
        count: how many there are.
        mean, std, least, most: of all.
        quantiles: share -> value, estimated from at most 65,536 of them.
        low, high: the declared range; None where there is none.
        below, above: how many lie outside it.
        at_low, at_high: how many lie exactly on its ends.
        histogram: how many of those that quantiles are estimated from lie in each of 40 equal parts from
            `least` to `most`.
        type: says that this is what it is.
    """

    count: int
    mean: float
    std: float
    least: float
    most: float
    quantiles: Mapping[str, float]
    low: float | None
    high: float | None
    below: int
    above: int
    at_low: int
    at_high: int
    histogram: tuple[int, ...]
    type: Literal["numbers"] = "numbers"

    @property
    def is_constant(self) -> bool:
        """All are one and the same."""
        return self.count > 1 and self.least == self.most


@attrs.frozen
class Classes:
    """Which classes occur how often.

    Attributes:
        counts: class -> how often, the commonest first; those that never occur are left out.
        unseen: declared classes that never occur.
        outside: numbers that are no class.
        ignored: how many are of the class that no metric counts.
        type: says that this is what it is.
    """

    counts: Mapping[str, int]
    unseen: tuple[str, ...]
    outside: int = 0
    ignored: int = 0
    type: Literal["classes"] = "classes"

    @property
    def total(self) -> int:
        """All together."""
        return sum(self.counts.values())


@attrs.frozen
class Lengths:
    """How many things values have: words, items, tokens.

    Attributes:
        counts: length -> values, from the shortest.
        limit: most that the schema admits; None where it sets no limit.
        type: says that this is what it is.
    """

    counts: Mapping[int, int]
    limit: int | None
    type: Literal["lengths"] = "lengths"

    @property
    def values(self) -> int:
        """How many values were measured."""
        return sum(self.counts.values())

    @property
    def mean(self) -> float:
        """Of all values; 0 if there is none."""
        return sum(length * count for length, count in self.counts.items()) / max(self.values, 1)

    @property
    def most(self) -> int:
        """The longest."""
        return max(self.counts, default=0)

    def above(self, limit: int) -> int:
        """Values longer than that."""
        return sum(count for length, count in self.counts.items() if length > limit)

    def quantile(self, share: float) -> int:
        """The shortest length that this share of the values does not exceed.

        >>> Lengths({1: 5, 2: 4, 9: 1}, None).quantile(0.9)
        2
        """
        below = 0
        for length, count in sorted(self.counts.items()):
            below += count
            if below >= share * self.values:
                return length
        return 0


Part: TypeAlias = Numbers | Classes | Lengths


@attrs.frozen
class Copies:
    """Values that are equal to one before them.

    Attributes:
        values: how many were compared.
        copies: how many of them are equal to an earlier one.
        one_in: 1 where every value was compared; k where one value in k was, all equal ones of it.
    """

    values: int
    copies: int
    one_in: int = 1

    @property
    def share(self) -> float:
        """Copies among the values."""
        return self.copies / max(self.values, 1)


@attrs.frozen
class ModalityProfile:
    """What is known of one modality.

    Attributes:
        kind: image, vector, set or text.
        present: samples that have it.
        parts: name -> statistics: a channel, a dimension, a field, `words`, `items`.
        copies: equal values.
        odd: what some values are, that values should not be -> how many.
    """

    kind: str
    present: int
    parts: Mapping[str, Part]
    copies: Copies
    odd: Mapping[str, int]


@attrs.frozen
class TokenProfile:
    """What is known of one token column.

    Attributes:
        state: as `fourm data status` says it.
        vocabulary: ids there are.
        used: ids that occur.
        tokens: ids that were counted.
        perplexity: 2 to the entropy of the ids: as many equally frequent ids would be as hard to guess.
        commonest: share of the commonest id.
        unknown: how many are the id for what the vocabulary cannot spell; None where there is none.
        lengths: tokens of each value.
    """

    state: str
    vocabulary: int
    used: int
    tokens: int
    perplexity: float
    commonest: float
    unknown: int | None
    lengths: Lengths


@attrs.frozen
class Finding:
    """Something that a person should know.

    Attributes:
        level: `fault`: values are wrong or lost; `warning`: it costs quality; `note`: good to know.
        where: the modality, stream or field.
        what: what was found.
        mend: what to do about it.
    """

    level: Level
    where: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}: {self.mend}" if self.mend else f"{self.where}: {self.what}"


@attrs.frozen
class Profile:
    """What a dataset holds, in numbers.

    Attributes:
        path, version: which.
        rows: samples of the dataset.
        profiled: samples that were looked at.
        findings: what a person should act on, the worst first.
        modalities: by name.
        streams: token columns that hold anything, by stream.
        tokens_per_sample: over all streams, shown or predicted.
        copies: samples that are equal to an earlier one in all modalities.
        same_ids: samples that have the id of an earlier one.
    """

    path: str
    version: int
    rows: int
    profiled: int
    findings: tuple[Finding, ...]
    modalities: Mapping[str, ModalityProfile]
    streams: Mapping[str, TokenProfile]
    tokens_per_sample: Lengths
    copies: Copies
    same_ids: int

    def record(self) -> dict[str, object]:
        """The profile as plain values, for JSON."""
        return attrs.asdict(self)
