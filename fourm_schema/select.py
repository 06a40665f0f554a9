"""Which codec, embedding and positions a stream gets: one table, first match wins.

`when` says where a row is chosen; `can` (by default the same) where its codec may be asked for by name.
Each row has its reason, which `fourm explain` prints.
"""

from collections.abc import Callable
from typing import Literal, cast

import attrs

from fourm_schema.codebooks import LEARNED
from fourm_schema.errors import nearest
from fourm_schema.modality import Categorical, Continuous, Direction, Features, Image, Modality, Set, Vector
from fourm_schema.plan import Shown
from fourm_schema.set_fields import is_learned

LEVELS_MOST = 256
LEVELS_MOST_CELLS = 256
BINS_MOST_NUMBERS = 32
PLUGIN = "plugin:"
ASKED = "asked for in the file"
CODES_GRAMMAR = "grammar-codes"

Positions = Literal["sincos-2d", "sincos-1d", "learned-1d"]
Condition = Callable[[Modality, Shown], bool]


@attrs.frozen
class Row:
    """One line of the table.

    Attributes:
        when: the streams it is chosen for.
        codec, embedding, positions: what they get, by name.
        because: why this codec.
        can: the streams its codec could serve, if more than those it is chosen for.
    """

    when: Condition
    codec: str
    embedding: str
    positions: Positions
    because: str
    can: Condition = attrs.field(default=attrs.Factory(lambda self: self.when, takes_self=True))


def image_as_pixels(entry: Modality, shown: Shown) -> bool:
    return isinstance(entry, Image) and shown == "pixels"


def image_of_levels(entry: Modality, shown: Shown) -> bool:
    return (
        isinstance(entry, Image)
        and shown == "tokens"
        and entry.patch == (1, 1)
        and entry.level_count is not None
    )


def image_of_few_levels(entry: Modality, shown: Shown) -> bool:
    return (
        image_of_levels(entry, shown)
        and isinstance(entry, Image)
        and (entry.level_count or 0) <= LEVELS_MOST
        and entry.cell_count <= LEVELS_MOST_CELLS
    )


def image_of_numbers(entry: Modality, shown: Shown) -> bool:
    return isinstance(entry, Image) and shown == "tokens" and isinstance(entry.cell, Continuous | Direction)


def image_of_classes(entry: Modality, shown: Shown) -> bool:
    return isinstance(entry, Image) and shown == "tokens" and isinstance(entry.cell, Categorical)


def image_of_features(entry: Modality, shown: Shown) -> bool:
    return isinstance(entry, Image) and shown == "tokens" and isinstance(entry.cell, Features)


def vector_as_values(entry: Modality, shown: Shown) -> bool:
    return isinstance(entry, Vector) and shown == "values"


def vector_with_ranges(entry: Modality, shown: Shown) -> bool:
    return isinstance(entry, Vector) and shown == "tokens" and entry.ranges is not None


def short_vector_with_ranges(entry: Modality, shown: Shown) -> bool:
    return vector_with_ranges(entry, shown) and isinstance(entry, Vector) and entry.dim <= BINS_MOST_NUMBERS


def vector(entry: Modality, shown: Shown) -> bool:
    return isinstance(entry, Vector) and shown == "tokens"


def set_in_words(entry: Modality, shown: Shown) -> bool:
    return isinstance(entry, Set) and entry.dialect is not None


def set_with_codes(entry: Modality, shown: Shown) -> bool:
    return (
        isinstance(entry, Set)
        and entry.dialect is None
        and any(is_learned(field) for field in entry.fields.values())
    )


def set_of_records(entry: Modality, shown: Shown) -> bool:
    return isinstance(entry, Set) and entry.dialect is None and not set_with_codes(entry, shown)


def text(entry: Modality, shown: Shown) -> bool:
    return entry.kind == "text"


def tokens_or_text(entry: Modality, shown: Shown) -> bool:
    return entry.kind != "set" and shown == "tokens"


def image_or_vector(entry: Modality, shown: Shown) -> bool:
    return isinstance(entry, Image | Vector) and shown == "tokens"


def asked_for_by_name(entry: Modality, shown: Shown) -> bool:
    """Codecs that are chosen for nothing."""
    return False


def with_another_quantizer(entry: Modality, shown: Shown) -> bool:
    """Learned codecs that are chosen for nothing: those of the table with another quantizer."""
    return False


OTHER_QUANTIZERS: dict[str, str] = {
    "lfq": "each number of a code is rounded to its sign (lookup-free quantization)",
    "vq": "a code is the nearest of a learned table (vector quantization)",
}

# One row of the table is one or two lines to read.
# fmt: off
TABLE: tuple[Row, ...] = (
    Row(image_as_pixels, "none", "linear", "sincos-2d", "pixels go in as they are, nothing is lost"),
    Row(image_of_few_levels, "levels", "table", "sincos-2d", can=image_of_levels,
        because=f"at most {LEVELS_MOST} levels on {LEVELS_MOST_CELLS} cells: one exact token per cell"),
    Row(image_of_numbers, "vit-fsq", "table", "sincos-2d",
        "too many values or cells for exact tokens: an autoencoder turns each patch into one"),
    Row(image_of_classes, "vit-class-fsq", "table", "sincos-2d",
        "a class map with too many cells for exact tokens: an autoencoder over class embeddings"),
    Row(image_of_features, "vit-feature-fsq", "table", "sincos-2d",
        "feature vectors are no pixels: an autoencoder after a 1x1 projection"),
    Row(vector_as_values, "none", "linear", "sincos-1d", "values go in as they are, nothing is lost"),
    Row(short_vector_with_ranges, "bins", "table", "learned-1d", can=vector_with_ranges,
        because=f"at most {BINS_MOST_NUMBERS} numbers with ranges: one bin each, off by half a bin at most"),
    Row(vector, "mlp-pq", "table", "learned-1d",
        f"more than {BINS_MOST_NUMBERS} numbers, or no ranges: a product quantizer learns the codes"),
    Row(set_in_words, "grammar-4m", "table", "sincos-1d",
        "records are written in the words of a text tokenizer, as released 4M models have learned them"),
    Row(set_with_codes, CODES_GRAMMAR, "table", "sincos-1d",
        "records are written under the grammar of their fields, masks and long vectors in learned codes"),
    Row(set_of_records, "grammar", "table", "sincos-1d",
        "records are written under the grammar of their fields, in tokens of their own"),
    Row(text, "wordpiece", "table", "sincos-1d", "words are cut into pieces of the shared vocabulary"),
    *(Row(with_another_quantizer, f"{network}-{quantizer}", "table", "sincos-2d", because, can=can)
      for network, can in (("vit", image_of_numbers), ("vit-class", image_of_classes),
                           ("vit-feature", image_of_features))
      for quantizer, because in OTHER_QUANTIZERS.items()),
    Row(with_another_quantizer, "mlp-rvq", "table", "learned-1d", can=vector,
        because="each id says what those before it left (residual vector quantization)"),
    Row(asked_for_by_name, "tokenizer", "table", "sincos-1d", "words are cut by a tokenizer made elsewhere",
        can=text),
    Row(asked_for_by_name, "vq-4m", "table", "sincos-1d", "a tokenizer released with 4M gives the ids",
        can=image_or_vector),
    Row(asked_for_by_name, "ids", "table", "sincos-1d", "values are token ids already", can=tokens_or_text),
)
# fmt: on

EMBEDDINGS: dict[str, str] = {
    "table": "ids look their vector up in the token table",
    "linear": "numbers are projected linearly, there is no id to look up",
}

POSITIONS: dict[str, str] = {
    "sincos-2d": "cells have a row and a column",
    "sincos-1d": "what comes earlier and later matters, and the length varies",
    "learned-1d": "each number means something of its own, near ones need not be alike",
}

ASKED_ONLY = tuple(row.codec for row in TABLE if row.when is asked_for_by_name)
"""Codecs for what was made elsewhere: taken when asked for, never proposed."""

LEARNED_CODECS = tuple(LEARNED)
"""Codecs that are fitted to values before anything can be encoded."""

SEVERAL_IDS = ("mlp-pq", "mlp-rvq", "vq-4m", "ids")
"""Codecs that write a vector in as many ids as its `tokens` say."""


@attrs.frozen
class Choice:
    """What a stream gets, each with its reason."""

    codec: str
    embedding: str
    positions: Positions
    because: tuple[str, str, str]


def select(entry: Modality, shown: Shown) -> Choice:
    """Choose codec, embedding and positions of one stream, the entry's overrides applied.

    A `codec:` or `embedding:` override concerns the token stream, or the dense one where there is no
    other; `positions:` concerns every stream of the modality. Their legality is a rule of the file
    (`override_faults`), checked before.
    """
    row = next(row for row in TABLE if row.when(entry, shown))
    concerned = shown == _overridden(entry)
    codec = entry.codec if concerned and entry.codec else None
    embedding = entry.embedding if concerned and entry.embedding else None
    return Choice(
        codec or row.codec,
        embedding or row.embedding,
        cast(Positions, entry.positions or row.positions),
        (
            ASKED if codec else row.because,
            ASKED if embedding else EMBEDDINGS[row.embedding],
            ASKED if entry.positions else POSITIONS[row.positions],
        ),
    )


def override_faults(entry: Modality) -> dict[str, tuple[str, str]]:
    """Say for each illegal override (key of the entry) what is wrong and which names are legal."""
    shown = _overridden(entry)
    legal = {
        "codec": legal_codecs(entry, shown),
        "embedding": ("table",) if shown == "tokens" else ("linear",),
        "positions": ("sincos-2d", "sincos-1d", "learned-1d")
        if entry.kind == "image"
        else ("sincos-1d", "learned-1d"),
    }
    faults = {}
    for key, names in legal.items():
        asked = getattr(entry, key)
        plugin = (
            key == "codec" and shown == "tokens" and str(asked).removeprefix(PLUGIN) not in ("", str(asked))
        )
        if asked is not None and asked not in names and not plugin:
            kind = f"an {entry.kind}" if entry.kind == "image" else f"a {entry.kind}"
            proposed = [name for name in names if name not in ASKED_ONLY]
            mend = nearest(asked, proposed).replace("known:", "legal:")
            faults[key] = (f"cannot be {asked!r} for {kind} shown as {shown}", _for_what(asked) + mend)
    return faults


def _for_what(codec: str) -> str:
    served = [row.can.__name__.replace("_", " ") for row in TABLE if row.codec == codec != "none"]
    return f"{codec} is for: {served[0]}; " if served else ""


def legal_codecs(entry: Modality, shown: Shown) -> tuple[str, ...]:
    """Codecs of the table that could serve the stream, the selected one first."""
    return tuple(row.codec for row in TABLE if row.can(entry, shown))


def _overridden(entry: Modality) -> Shown:
    return "tokens" if "tokens" in entry.shown else entry.shown[0]
