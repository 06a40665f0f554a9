"""The id space of a set: which ids its stream has, and what each range of them stands for.

A set has a vocabulary of its own (docs/decisions/0009-set-id-space.md): special ids first, then field by
field the tokens of its productions, then the pieces of a word vocabulary if a field is a text. Everything
follows from the schema entry and the declared size of the word vocabulary; nothing is trained.
"""

import attrs

from fourm_schema.errors import PlanError
from fourm_schema.modality import Set
from fourm_schema.plan import Special
from fourm_schema.set_fields import AnyField, TextField
from fourm_schema.special import sentinels_needed, special_ids


@attrs.frozen
class TokenRange:
    """Consecutive ids of one meaning: the bins of a number, the classes of a category, one marker.

    Attributes:
        name: the field, with the axis or the marker where it has several ranges: `box.x`, `score.absent`.
        start: the first id.
        size: how many ids.
    """

    name: str
    start: int
    size: int

    @property
    def stop(self) -> int:
        return self.start + self.size


@attrs.frozen
class SetLayout:
    """Every id of a set's stream.

    Attributes:
        special: pad, unknown, start, end and the sentinels.
        ranges: the tokens of the fields, in the order of the fields.
        pieces: the word pieces that text fields are written in; of size 0 where no field is a text.
    """

    special: Special
    ranges: tuple[TokenRange, ...]
    pieces: TokenRange

    @property
    def size(self) -> int:
        """Ids are in [0, size)."""
        return self.pieces.stop

    def range(self, name: str) -> TokenRange:
        """The range of that name; it exists."""
        return next(found for found in self.ranges if found.name == name)


def set_layout(modality: str, entry: Set, piece_count: int = 0) -> SetLayout:
    """Lay out the ids of a set.

    Args:
        modality: its name; errors start with it.
        entry: the declared set.
        piece_count: ids of the word vocabulary that stand for pieces; only sets with texts need it.

    Raises:
        PlanError: if texts of the set write in several vocabularies.
    """
    text_vocabulary(modality, entry)
    # One chunk per item and one for the end token; a span is at least a chunk.
    special = special_ids(sentinels_needed(entry.max_items + 1))
    ranges: list[TokenRange] = []
    start = special.size
    for name, field in entry.fields.items():
        markers = [("absent", 1)] if field.optional else []
        for part, size in [*markers, *_parts(field)]:
            ranges.append(TokenRange(f"{name}.{part}" if part else name, start, size))
            start += size
    has_text = any(field.type == "text" for field in entry.fields.values())
    return SetLayout(special, tuple(ranges), TokenRange("pieces", start, piece_count if has_text else 0))


def text_vocabulary(modality: str, entry: Set) -> str | None:
    """The word vocabulary that the text fields of a set write in; None if it has none.

    Raises:
        PlanError: if they name several.
    """
    named = {name: field.vocabulary for name, field in entry.fields.items() if isinstance(field, TextField)}
    if len(set(named.values())) > 1:
        raise PlanError(
            f"modalities.{modality}.fields",
            "the texts of one set write in one vocabulary",
            got=", ".join(f"{name}: {vocabulary}" for name, vocabulary in named.items()),
            mend="name the same vocabulary in each",
        )
    return next(iter(named.values()), None)


def _parts(field: AnyField) -> list[tuple[str, int]]:
    """(name, size) of each range of a field's tokens."""
    match field.type:
        case "number":
            return [("", field.bins if field.edges is None else len(field.edges) - 1)]
        case "category":
            return [("", len(field.names))]
        case "point" | "box":
            return [("x", field.bins), ("y", field.bins)]
        case "text":
            return [("end", 1)]
        case "vector":
            return [("", field.bins if field.tokens is None else field.vocab_size)]
        case "angle":
            return [("", field.bins)]
        case "mask":
            return [("", field.vocab_size)]
