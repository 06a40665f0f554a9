"""Hold one codec to every law that speaks of codecs: for codecs of other packages, in their own tests."""

from hypothesis import strategies as st

from fourm_codecs.base import Codec, StoredCodec
from fourm_codecs.lawbook.codec_laws import CODEC_LAWS
from fourm_codecs.lawbook.subject import Subject
from fourm_schema.errors import CodecError
from fourm_schema.lawbook.article import Broken
from fourm_schema.lawbook.search import Outcome, search
from fourm_schema.modality import Modality
from fourm_schema.strategies import values as values_of


class LawsBroken(Broken):
    """A codec breaks laws.

    Args:
        outcomes: of the broken ones.
    """

    def __init__(self, modality: str, outcomes: list[Outcome]) -> None:
        self.outcomes = tuple(outcomes)
        lines = [f"{outcome.law}: {outcome.statement}\n  {outcome.fault}" for outcome in outcomes]
        laws = "1 law" if len(outcomes) == 1 else f"{len(outcomes)} laws"
        super().__init__("\n".join([f"the codec of {modality} breaks {laws}:", *lines]))


def codec_outcomes(
    codec: Codec,
    values: st.SearchStrategy[object] | None = None,
    *,
    entry: Modality | None = None,
    examples: int = 100,
    seed: int = 0,
) -> list[Outcome]:
    """Try every law that speaks of a codec; see `check_codec`."""
    entry = entry or (codec.entry if isinstance(codec, StoredCodec) else None)
    if values is None and entry is None:
        raise CodecError(
            codec.modality, "says nothing of its values", mend="give a strategy of them, or its entry"
        )
    drawn = values if values is not None else values_of(entry) if entry is not None else st.nothing()
    tested = Subject(codec.modality, drawn, entry, codec)
    return [search(law, tested, codec.modality, examples, seed) for law in CODEC_LAWS if law.applies(tested)]


def check_codec(
    codec: Codec,
    values: st.SearchStrategy[object] | None = None,
    *,
    entry: Modality | None = None,
    examples: int = 100,
    seed: int = 0,
) -> list[Outcome]:
    """Require a codec to keep every law that speaks of it.

    Args:
        codec: yours or ours.
        values: draws values of its modality; None draws them from the entry.
        entry: its schema entry; None takes the codec's own, if it has one. With it, more laws speak of it:
            its ranges, shapes and classes, and what must be refused.
        examples: values that are drawn for each law.
        seed: of what is drawn.

    Returns:
        What became of each law, all of them kept.

    Raises:
        LawsBroken: an AssertionError that tells every broken law with the smallest value that breaks it.
        CodecError: if there are neither values nor an entry.
    """
    outcomes = codec_outcomes(codec, values, entry=entry, examples=examples, seed=seed)
    broken = [outcome for outcome in outcomes if not outcome.kept]
    if broken:
        raise LawsBroken(codec.modality, broken)
    return outcomes
