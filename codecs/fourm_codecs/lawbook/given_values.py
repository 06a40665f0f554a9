"""Laws of codecs on values that somebody has, in place of drawn ones."""

from collections.abc import Sequence

from hypothesis import strategies as st

from fourm_codecs.base import Codec
from fourm_codecs.lawbook.encoding_laws import (
    batch_is_single,
    canonical_ids_survive,
    ids_are_in_range,
    ids_have_the_smallest_type,
    law_is_kept,
    rows_have_their_shape,
    rows_say_where_they_end,
)
from fourm_codecs.lawbook.subject import Subject
from fourm_schema.errors import CodecError
from fourm_schema.lawbook.article import Article, Broken

OF_VALUES: tuple[Article[Subject], ...] = (
    rows_have_their_shape,
    ids_have_the_smallest_type,
    ids_are_in_range,
    canonical_ids_survive,
    rows_say_where_they_end,
)
OF_BATCHES: tuple[Article[Subject], ...] = (law_is_kept, batch_is_single)
LAWS_OF_VALUES = (*OF_BATCHES, *OF_VALUES)
"""What a codec owes of any value: its law, ids in range, of the smallest type and of `token_shape`, the same
ids alone and in a batch, canonical ids that survive, and an end where lengths differ."""


def violations(codec: Codec, values: Sequence[object]) -> list[str]:
    """Say how a codec breaks what it owes of some values.

    Args:
        codec: any codec.
        values: values that its modality can hold.

    Returns:
        One sentence per law and value that breaks it, empty when all is well.
    """
    tested = Subject(codec.modality, st.nothing(), codec=codec)
    found = list[str]()
    for number, value in enumerate(values):
        told = [*_broken(law_is_kept, tested, [value])]
        told += [fault for law in OF_VALUES for fault in _broken(law, tested, value)]
        found += [f"value {number}: {fault}" for fault in told]
    together = [fault for law in OF_BATCHES for fault in _broken(law, tested, list(values))]
    return found or together


def _broken(law: Article[Subject], tested: Subject, given: object) -> list[str]:
    """What a law says of a value, or of a batch, that it gets whatever it asks for."""
    if not law.applies(tested):
        return []
    try:
        law.check(tested, lambda strategy: given)  # type: ignore[arg-type]  # it asks for such
    except (Broken, CodecError) as fault:
        return [str(fault)]
    return []
