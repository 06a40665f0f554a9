"""Schema -> Plan: each modality becomes its streams, each vocabulary gets its special ids."""

import math

from fourm_schema.codebooks import FSQ_DEFAULT
from fourm_schema.digest import schema_hash
from fourm_schema.errors import PlanError
from fourm_schema.modality import Image, Modality, Set, Text, Vector
from fourm_schema.plan import Plan, Shown, Stream, Vocabulary
from fourm_schema.schema import Schema
from fourm_schema.select import LEARNED_CODECS, TRAINABLE_CODECS, select
from fourm_schema.special import sentinels_needed, shared_vocabulary, special_ids

PQ_TOKENS = 16

LEARNED_VOCAB_SIZES: dict[str, int] = {
    # FSQ level products of Mentzer et al. 2023, table 1: (8, 8, 8, 6, 5) and (7, 5, 5, 5, 5).
    "vit-fsq": FSQ_DEFAULT,
    "vit-class-fsq": 4_375,
    "vit-feature-fsq": 15_360,
    "mlp-pq": 1_024,
}


def resolve(schema: Schema) -> Plan:
    """Expand a schema into the streams a model will see.

    Args:
        schema: a schema whose rules hold.

    Returns:
        Streams in the order of the modalities, and within one in the order of its `shown`.

    Raises:
        PlanError: if a modality uses a key that is reserved for a later release.
    """
    for name, entry in schema.modalities.items():
        if entry.axes:
            raise PlanError(
                f"modalities.{name}.axes",
                "repeating a modality along an axis is reserved for a later release",
                got=str(dict(entry.axes)),
                mend="remove axes; declare one modality per step, or put the steps into a vector",
            )
    words = _vocabulary_names(schema)
    vocabularies = _vocabularies(schema, words)
    streams = tuple(
        _stream(name, entry, shown, vocabularies.get(words.get(name, "")))
        for name, entry in schema.modalities.items()
        for shown in entry.shown
    )
    return Plan(schema_hash(schema), streams, tuple(vocabularies.values()))


def require_runnable(plan: Plan) -> None:
    """Refuse a plan with streams that this version can describe but not yet train.

    Raises:
        PlanError: naming each such stream, and what to declare in its place.
    """
    blocked = [(stream.name, stream.codec, _instead(stream)) for stream in plan.streams if _instead(stream)]
    if blocked:
        count = "1 stream" if len(blocked) == 1 else f"{len(blocked)} streams"
        lines = [f"{name} (codec {codec!r}): {instead}" for name, codec, instead in blocked]
        raise PlanError(
            "modalities", f"{count} cannot be trained in this version", mend="\n  ".join(["", *lines])
        )


def _instead(stream: Stream) -> str:
    if stream.codec == "grammar":
        return "sets are described but not yet encoded; declare its numbers as a vector, its words as text"
    if stream.codec not in LEARNED_CODECS or stream.codec in TRAINABLE_CODECS:
        return ""
    if stream.kind == "vector":
        return "its codec comes later; give ranges with codec: bins, or shown: [values] as an input only"
    if stream.codec == "vit-class-fsq":
        return "its codec comes later; use patch: 1 with at most 256 cells for exact tokens"
    return "its codec comes later; use shown: [pixels] as an input only"


def _vocabulary_names(schema: Schema) -> dict[str, str]:
    """Which word vocabulary each sequence modality writes in; sets share one."""
    shared = shared_vocabulary(schema.vocabularies)
    return {
        name: entry.vocabulary if isinstance(entry, Text) else shared
        for name, entry in schema.modalities.items()
        if isinstance(entry, Text | Set)
    }


def _vocabularies(schema: Schema, names: dict[str, str]) -> dict[str, Vocabulary]:
    longest: dict[str, int] = {}
    for modality, name in names.items():
        entry = schema.modalities[modality]
        assert isinstance(entry, Text | Set)
        longest[name] = max(longest.get(name, 0), entry.max_tokens)
    found = {}
    for name, most in longest.items():
        declared = schema.vocabularies.get(name)
        special = special_ids((declared and declared.sentinels) or sentinels_needed(most))
        size = declared.size if declared else special.size + _record_words(schema)
        found[name] = Vocabulary(name, "wordpiece", size, special)
    return found


def _record_words(schema: Schema) -> int:
    """Words that the records of a schema without texts need: one per bin and class."""
    fields = [
        field
        for entry in schema.modalities.values()
        if isinstance(entry, Set)
        for field in entry.fields.values()
    ]
    return sum(
        len(field.names) if field.type == "category" else getattr(field, "bins", 256) for field in fields
    )


def _stream(name: str, entry: Modality, shown: Shown, words: Vocabulary | None) -> Stream:
    choice = select(entry, shown)
    is_sequence = isinstance(entry, Text | Set)
    grid = _grid(entry, shown, choice.codec)
    if shown != "tokens":
        vocabulary, vocab_size = None, 0
    elif words is not None:
        vocabulary, vocab_size = words.name, words.size
    else:
        vocabulary, vocab_size = f"{name}.{shown}", _vocab_size(entry, choice.codec)
    return Stream(
        name=f"{name}.{shown}",
        modality=name,
        kind=entry.kind,
        shown=shown,
        role="input" if shown != "tokens" else entry.role,
        layout="sequence" if is_sequence else "grid",
        length=entry.max_tokens if isinstance(entry, Text | Set) else math.prod(grid or ()),
        grid=grid,
        dense_dim=None if shown == "tokens" else _dense_dim(entry),
        vocabulary=vocabulary,
        vocab_size=vocab_size,
        codec=choice.codec,
        embedding=choice.embedding,
        positions=choice.positions,
        because=choice.because,
        loss_weight=entry.loss_weight,
        column=f"{name}__tokens" if shown == "tokens" else name,
        views=entry.views if isinstance(entry, Text) else 1,
    )


def _grid(entry: Modality, shown: Shown, codec: str) -> tuple[int, ...] | None:
    if isinstance(entry, Image):
        return entry.dense_grid if shown == "pixels" else entry.grid
    if isinstance(entry, Vector):
        # A dense vector is one token of dim numbers; learned codes are as many as 4M gives a global feature.
        return (1,) if shown == "values" else (PQ_TOKENS,) if codec == "mlp-pq" else (entry.dim,)
    return None


def _dense_dim(entry: Modality) -> int:
    assert isinstance(entry, Image | Vector), "only images and vectors have dense streams"
    return entry.dense_dim if isinstance(entry, Image) else entry.dim


def _vocab_size(entry: Modality, codec: str) -> int:
    assert isinstance(entry, Image | Vector), "texts and sets write in a word vocabulary"
    if codec == "levels" and isinstance(entry, Image):
        return entry.level_count or 0
    if codec == "bins" and isinstance(entry, Vector):
        return entry.bins
    return entry.vocab_size or LEARNED_VOCAB_SIZES[codec]
