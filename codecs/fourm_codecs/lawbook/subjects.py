"""What there is to test of a schema: each modality with its codec and dense view, or why it has none."""

from collections.abc import Callable, Iterable, Mapping

import attrs

from fourm_codecs.base import Parts, StoredCodec
from fourm_codecs.build import build_codec, codec_of_entry
from fourm_codecs.dense import DenseView
from fourm_codecs.lawbook.sample_words import sample_tokenizer, sample_vocabularies
from fourm_codecs.lawbook.subject import Subject
from fourm_codecs.vocabulary import WordVocabulary
from fourm_schema.errors import CodecError
from fourm_schema.modality import Modality, Set
from fourm_schema.plan import Plan, Stream
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from fourm_schema.select import CODES_GRAMMAR, LEARNED_CODECS
from fourm_schema.set_layout import text_vocabulary
from fourm_schema.strategies import values

SAMPLE = "words learned from a few sample texts"
UNTRAINED = "random weights"
TOKENIZER = "a small tokenizer in place of the model's"


@attrs.frozen(eq=False)
class Prepared:
    """A modality that can be tested, or in part.

    Attributes:
        tested: its codec and dense view, as far as there are any.
        stands_in: what is tested in place of something trained; empty where nothing is.
        not_tested: stream -> why it is not tested.
        fitted: its learned codec once more, fitted for a few steps on drawn values, where that was asked for.
    """

    tested: Subject
    stands_in: str = ""
    not_tested: Mapping[str, str] = attrs.field(factory=dict)
    fitted: Subject | None = None


def prepare(
    schema: Schema,
    trained: Mapping[str, StoredCodec] | None = None,
    modalities: Iterable[str] | None = None,
    fit: bool = False,
) -> list[Prepared]:
    """Build what there is to test.

    Args:
        schema: the declaration.
        trained: fitted codecs by modality; the others are built from the schema, with sample words and random
            weights where something would have to be trained.
        modalities: which; None takes all.
        fit: learned codecs that are not among `trained` are also tested after a few steps on drawn values.

    Raises:
        PlanError: if the schema has no such modality.
    """
    plan, trained = resolve(schema), trained or {}
    words = sample_vocabularies(schema, plan)
    for codec in trained.values():
        if codec.parts.vocabulary is not None:
            words[codec.parts.vocabulary.name] = codec.parts.vocabulary
    asked = (
        [*schema.modalities] if modalities is None else [plan.stream(name).modality for name in modalities]
    )
    prepared = [_prepare(schema, plan, name, trained, words) for name in dict.fromkeys(asked)]
    return [_with_fitted(each, words) for each in prepared] if fit else prepared


def _with_fitted(prepared: Prepared, words: Mapping[str, WordVocabulary]) -> Prepared:
    if prepared.stands_in != UNTRAINED:
        return prepared
    from fourm_codecs.lawbook.fitted import fitted

    tested = prepared.tested
    assert tested.entry is not None, "it was built from its entry"
    text = text_vocabulary(tested.name, tested.entry) if isinstance(tested.entry, Set) else None
    codec = fitted(tested.name, tested.entry, words.get(text or ""))
    own = attrs.evolve(tested, codec=codec, view=None, dense_stream=None, rebuilt=None)
    return attrs.evolve(prepared, fitted=own)


def _prepare(
    schema: Schema,
    plan: Plan,
    name: str,
    trained: Mapping[str, StoredCodec],
    words: Mapping[str, WordVocabulary],
) -> Prepared:
    entry = schema.modalities[name]
    tokens: Stream | None = None
    dense: Stream | None = None
    for stream in plan.of_modality(name):
        tokens, dense = (tokens, stream) if stream.is_dense else (stream, dense)
    codec, stands_in, rebuilt = trained.get(name), "", None
    not_tested = dict[str, str]()
    if tokens is not None and codec is None:
        build, stands_in = _builder(schema, tokens, words)
        try:
            codec, rebuilt = build(entry), build
        except CodecError as fault:
            not_tested[tokens.name] = _why(tokens, fault)
            stands_in = ""
    view = DenseView.from_entry(name, entry) if dense is not None else None
    tested = Subject(name, values(entry), entry, codec, view, tokens if codec else None, dense, rebuilt)
    return Prepared(tested, stands_in, not_tested)


def _builder(
    schema: Schema, stream: Stream, words: Mapping[str, WordVocabulary]
) -> tuple[Callable[[Modality], StoredCodec], str]:
    """What builds the codec of an entry, and what in it stands in for something trained."""
    declared = schema.modalities[stream.modality]
    text = text_vocabulary(stream.modality, declared) if isinstance(declared, Set) else None
    if stream.codec in (*LEARNED_CODECS, CODES_GRAMMAR):
        # Torch takes seconds, which exact codecs should not cost.
        from fourm_codecs.untrained import untrained

        vocabulary = words.get(text or "")
        return lambda entry: untrained(stream.modality, entry, vocabulary=vocabulary), UNTRAINED
    if stream.codec in ("tokenizer", "grammar-4m"):
        return (
            lambda entry: codec_of_entry(
                stream.codec, stream.modality, entry, Parts(tensors=sample_tokenizer(entry))
            ),
            TOKENIZER,
        )

    def build(entry: Modality) -> StoredCodec:
        changed = schema.model_copy(update={"modalities": {**schema.modalities, stream.modality: entry}})
        return build_codec(changed, stream.modality, words)

    return build, SAMPLE if text or stream.codec == "wordpiece" else ""


def _why(stream: Stream, fault: CodecError) -> str:
    if stream.codec in LEARNED_CODECS:
        return f"codec {stream.codec!r} needs a trained codec: give --codecs FOLDER once it is fitted"
    return str(fault)
