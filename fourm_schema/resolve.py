"""Schema -> Plan: each modality becomes its streams, each vocabulary gets its special ids."""

import math
from collections.abc import Container

from fourm_schema.codebooks import LEARNED_VOCAB_SIZES
from fourm_schema.digest import schema_hash
from fourm_schema.errors import PlanError
from fourm_schema.modality import Dialect, Image, Modality, Set, Text, Vector
from fourm_schema.plan import Plan, Shown, Stream, Vocabulary
from fourm_schema.schema import Schema
from fourm_schema.select import SEVERAL_IDS, select
from fourm_schema.set_layout import set_layout, text_vocabulary
from fourm_schema.special import sentinels_needed, special_ids

PQ_TOKENS = 16


def resolve(schema: Schema) -> Plan:
    """Expand a schema into the streams a model will see.

    Args:
        schema: a schema whose rules hold.

    Returns:
        Streams in the order of the modalities, and within one in the order of its `shown`.

    Raises:
        PlanError: if a modality uses a key that is reserved for a later release, or the texts of one set
            write in several vocabularies.
    """
    for name, entry in schema.modalities.items():
        if entry.axes and not isinstance(entry, Vector):
            raise PlanError(
                f"modalities.{name}.axes",
                "only vectors repeat along an axis in this version",
                got=f"{entry.kind}, {dict(entry.axes)}",
                mend="remove axes; declare one modality per step",
            )
    words = _word_vocabularies(schema)
    own_rows = {name for name, declared in schema.vocabularies.items() if declared.rows == "own"}
    sets = _set_vocabularies(schema, words)
    streams = tuple(
        _stream(
            name,
            entry,
            shown,
            words[shared] if (shared := _shared_words(entry)) else sets.get(name),
            own_rows,
        )
        for name, entry in schema.modalities.items()
        for shown in entry.shown
    )
    return Plan(schema_hash(schema), streams, (*words.values(), *sets.values()))


def _word_vocabularies(schema: Schema) -> dict[str, Vocabulary]:
    """The word vocabularies that texts, and text fields of sets, write in."""
    longest: dict[str, int] = {}
    for name, entry in schema.modalities.items():
        if shared := _shared_words(entry):
            longest[shared] = max(longest.get(shared, 0), _longest(entry) or 0)
        elif isinstance(entry, Set) and (words := text_vocabulary(name, entry)):
            # The spans of a set are masked in its own id space: its texts need no sentinels here.
            longest.setdefault(words, 0)
    found = {}
    for name, most in longest.items():
        declared = schema.vocabularies.get(name)
        special = special_ids((declared and declared.sentinels) or sentinels_needed(most))
        found[name] = Vocabulary(name, "wordpiece", declared.size if declared else special.size, special)
    return found


def _shared_words(entry: Modality) -> str | None:
    """The word vocabulary that all of a modality is written in; None where it has tokens of its own."""
    if isinstance(entry, Set):
        return entry.dialect.vocabulary if entry.dialect else None
    return entry.vocabulary if isinstance(entry, Text) else None


def _set_vocabularies(schema: Schema, words: dict[str, Vocabulary]) -> dict[str, Vocabulary]:
    """The vocabulary of each set that has tokens of its own, by modality."""
    found = {}
    for name, entry in schema.modalities.items():
        if isinstance(entry, Set) and entry.dialect is None:
            pieces = words.get(text_vocabulary(name, entry) or "")
            layout = set_layout(name, entry, pieces.size - pieces.special.size if pieces else 0)
            found[name] = Vocabulary(f"{name}.tokens", "grammar", layout.size, layout.special)
    return found


def _stream(
    name: str, entry: Modality, shown: Shown, written: Vocabulary | None, own_rows: Container[str]
) -> Stream:
    choice = select(entry, shown)
    if entry.axes and choice.codec not in ("bins", "none"):
        raise PlanError(
            f"modalities.{name}.axes",
            "what repeats along an axis is cut into bins, or shown as values",
            got=f"codec {choice.codec!r}",
            mend="give ranges, or write shown: [values]",
        )
    sequence = entry.dialect if isinstance(entry, Set) else entry
    most = _longest(entry)
    grid = _grid(entry, shown, choice.codec) if most is None else None
    if shown != "tokens":
        vocabulary, vocab_size = None, 0
    elif written is not None:
        vocabulary, vocab_size = written.name, written.size
    else:
        vocabulary, vocab_size = f"{name}.{shown}", _vocab_size(entry, choice.codec)
    return Stream(
        name=f"{name}.{shown}",
        modality=name,
        kind=entry.kind,
        shown=shown,
        role="input" if shown != "tokens" else entry.role,
        layout="grid" if most is None else "sequence",
        length=math.prod(grid or ()) if most is None else most,
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
        row_space=f"{name}.{shown}" if vocabulary and vocabulary in own_rows else None,
        position_rows=sequence.position_rows if isinstance(sequence, Text | Vector | Dialect) else None,
        target_positions=sequence.target_positions if isinstance(sequence, Text | Dialect) else None,
        aliases=entry.aliases,
    )


def _longest(entry: Modality) -> int | None:
    """Most tokens of a sequence; None where the length is fixed."""
    if isinstance(entry, Text | Set):
        return entry.max_tokens
    return entry.max_length if isinstance(entry, Vector) else None


def _grid(entry: Modality, shown: Shown, codec: str) -> tuple[int, ...] | None:
    if isinstance(entry, Image):
        return entry.dense_grid if shown == "pixels" else entry.grid
    if isinstance(entry, Vector):
        # A dense vector is one token of dim numbers; learned codes are as many as 4M gives a global feature.
        if shown == "values":
            return (entry.steps,)
        learned = codec in SEVERAL_IDS
        return (entry.steps * ((entry.tokens or PQ_TOKENS) if learned else entry.dim),)
    return None


def _dense_dim(entry: Modality) -> int:
    assert isinstance(entry, Image | Vector), "only images and vectors have dense streams"
    return entry.dense_dim if isinstance(entry, Image) else entry.dim


def _vocab_size(entry: Modality, codec: str) -> int:
    assert isinstance(entry, Image | Vector), "the ids of texts and sets are counted apart"
    if codec == "levels" and isinstance(entry, Image):
        return entry.level_count or 0
    if codec == "bins" and isinstance(entry, Vector):
        return entry.bins
    return entry.vocab_size or LEARNED_VOCAB_SIZES[codec]
