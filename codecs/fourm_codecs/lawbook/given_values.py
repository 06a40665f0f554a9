"""Laws of codecs on values that somebody has, in place of drawn ones."""

from collections.abc import Sequence

from hypothesis import strategies as st

from fourm_codecs.base import Codec
from fourm_codecs.lawbook.encoding_laws import OF_BATCHES, OF_VALUES, law_is_kept
from fourm_codecs.lawbook.subject import Subject
from fourm_schema.errors import CodecError
from fourm_schema.lawbook.article import Article, Broken


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
