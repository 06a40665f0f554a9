"""The selection table: each stream gets what its row says, and overrides say that they were asked for."""

import pytest

from fourm_schema.codebooks import LEARNED_VOCAB_SIZES
from fourm_schema.errors import PlanError, SchemaError
from fourm_schema.explain import explain_rows
from fourm_schema.load import parse_schema
from fourm_schema.plan import Stream
from fourm_schema.resolve import resolve
from fourm_schema.select import ASKED, EMBEDDINGS, LEARNED_CODECS, POSITIONS, TABLE
from tests.schema.schema_samples import DIGITS, EVERYTHING, schema_of

CELL = "cell: {type: continuous, range: [0, 16], levels: %d}"


def only_stream(entry: str) -> Stream:
    """The token stream (or the only one) of a modality."""
    return resolve(schema_of(a=entry)).stream("a")


@pytest.mark.parametrize(
    ("entry", "codec", "embedding", "positions"),
    [
        (f"kind: image, size: 16, patch: 1, {CELL % 256}", "levels", "table", "sincos-2d"),
        (f"kind: image, size: 16, patch: 1, {CELL % 257}", "vit-fsq", "table", "sincos-2d"),
        (f"kind: image, size: [16, 17], patch: 1, {CELL % 2}", "vit-fsq", "table", "sincos-2d"),
        (f"kind: image, size: 16, patch: 2, {CELL % 2}", "vit-fsq", "table", "sincos-2d"),
        (f"kind: image, size: 16, patch: 1, shown: [pixels], {CELL % 2}", "none", "linear", "sincos-2d"),
        ("kind: image, size: 8, patch: 1, cell: {type: direction}", "vit-fsq", "table", "sincos-2d"),
        (
            "kind: image, size: 8, patch: 1, cell: {type: categorical, classes: 9}",
            "levels",
            "table",
            "sincos-2d",
        ),
        (
            "kind: image, size: 32, patch: 4, cell: {type: categorical, classes: 9}",
            "vit-class-fsq",
            "table",
            "sincos-2d",
        ),
        (
            "kind: image, size: 8, patch: 1, cell: {type: features, channels: 1}",
            "vit-feature-fsq",
            "table",
            "sincos-2d",
        ),
        ("kind: vector, dim: 32, ranges: [0, 1]", "bins", "table", "learned-1d"),
        ("kind: vector, dim: 33, ranges: [0, 1]", "mlp-pq", "table", "learned-1d"),
        ("kind: vector, dim: 2", "mlp-pq", "table", "learned-1d"),
        ("kind: vector, dim: 2, shown: [values]", "none", "linear", "sincos-1d"),
        ("kind: set, max_items: 1, fields: {f: {type: box}}", "grammar", "table", "sincos-1d"),
        ("kind: text, vocabulary: words, max_tokens: 8", "wordpiece", "table", "sincos-1d"),
    ],
)
def test_each_kind_of_entry_gets_its_row(entry: str, codec: str, embedding: str, positions: str) -> None:
    """The edges of every condition: 256 levels, 256 cells, 32 numbers are in, one more is out."""
    stream = only_stream(entry)

    assert (stream.codec, stream.embedding, stream.positions) == (codec, embedding, positions)
    assert stream.because[0] in {row.because for row in TABLE}
    assert stream.because[1:] == (EMBEDDINGS[embedding], POSITIONS[positions])


@pytest.mark.parametrize(
    ("entry", "field", "value"),
    [
        ("kind: vector, dim: 40, ranges: [0, 1], codec: bins", "codec", "bins"),
        (f"kind: image, size: 32, patch: 1, codec: levels, {CELL % 300}", "codec", "levels"),
        (f"kind: image, size: 8, patch: 1, codec: vit-fsq, {CELL % 3}", "codec", "vit-fsq"),
        (f"kind: image, size: 8, patch: 2, codec: vit-vq, vocab_size: 99, {CELL % 3}", "codec", "vit-vq"),
        (f"kind: image, size: 8, patch: 2, codec: vit-lfq, vocab_size: 128, {CELL % 3}", "codec", "vit-lfq"),
        ("kind: vector, dim: 40, codec: mlp-rvq, tokens: 3", "codec", "mlp-rvq"),
        ('kind: vector, dim: 3, codec: "plugin:mine", vocab_size: 77', "codec", "plugin:mine"),
        (f"kind: image, size: 8, patch: 1, positions: learned-1d, {CELL % 3}", "positions", "learned-1d"),
        ("kind: text, vocabulary: words, max_tokens: 8, embedding: table", "embedding", "table"),
    ],
)
def test_what_the_file_asks_for_is_taken_and_said_to_be_asked_for(entry: str, field: str, value: str) -> None:
    """Who reads `fourm explain` must see which choices were the author's."""
    stream = only_stream(entry)

    assert getattr(stream, field) == value
    assert stream.because[("codec", "embedding", "positions").index(field)] == ASKED


def test_an_override_of_the_codec_leaves_the_dense_stream_alone() -> None:
    """Pixels go in as they are, whatever turns them into tokens; positions hold for both."""
    image = f"kind: image, size: 8, patch: 1, shown: [pixels, tokens], {CELL % 3}"
    entry = f"{image}, codec: vit-fsq, positions: sincos-1d"
    plan = resolve(schema_of(a=entry))

    assert [(stream.codec, stream.positions) for stream in plan.streams] == [
        ("none", "sincos-1d"),
        ("vit-fsq", "sincos-1d"),
    ]


def test_a_plugin_codec_says_its_own_vocabulary_size() -> None:
    assert only_stream('kind: vector, dim: 3, codec: "plugin:mine", vocab_size: 77').vocab_size == 77


def test_every_learned_codec_has_a_vocabulary_size() -> None:
    """A row added to the table without one would fail only when some user meets it."""
    assert set(LEARNED_VOCAB_SIZES) == set(LEARNED_CODECS) < {row.codec for row in TABLE}


def test_a_set_with_masks_cannot_ask_for_the_codec_of_sets_without() -> None:
    """Asking for it by name would only put the refusal off until the first record is encoded."""
    outline = "kind: set, max_items: 2, fields: {outline: {type: mask}}"
    with pytest.raises(SchemaError, match=r"modalities\.things\.codec: cannot be 'grammar' .*grammar-codes"):
        schema_of(things=f"{outline}, codec: grammar")

    stream = only_stream(outline)
    assert (stream.codec, stream.length, stream.vocab_size) == ("grammar-codes", 2 * 16 + 1, 4 + 4 + 1024)


def test_a_learned_image_stream_has_one_token_per_patch_and_a_codebook_that_exists() -> None:
    """What the model is built for before anything is fitted: fitting changes no shape."""
    image = "kind: image, size: [16, 8], patch: 4, cell: {type: continuous, channels: 3, range: [0, 255]}"

    assert only_stream(image).vocab_size == 15_360
    chosen = only_stream(f"{image}, vocab_size: 240")
    assert (chosen.grid, chosen.length, chosen.vocab_size) == ((4, 2), 8, 240)


def test_a_vocabulary_size_that_no_codebook_has_is_refused_with_the_nearest() -> None:
    image = "kind: image, size: 8, patch: 4, cell: {type: direction}, vocab_size: 4100"

    with pytest.raises(SchemaError) as caught:
        schema_of(normals=image)

    assert (
        "modalities.normals.vocab_size: is the size of no codebook of 'vit-fsq'; got 4100; the nearest is "
        "4096; there are 40, 64, 240, 512, 1000, 1024, 2560, 4096, 4375, 8192, 15360, 16384, 64000"
        in str(caught.value)
    )


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "codec: vit-lfq, vocab_size: 1000",
            "'vit-lfq'; got 1000; the nearest is 1024; it is a power of two",
        ),
        ("codec: vit-lfq, vocab_size: 32768", "'vit-lfq'; got 32768; the nearest is 16384; it is a power"),
        ("codec: vit-vq, vocab_size: 1", "'vit-vq'; got 1; it is a number from 2 to 65536"),
        ("codec: vit-vq, vocab_size: 65537", "'vit-vq'; got 65537; it is a number from 2 to 65536"),
    ],
)
def test_each_quantizer_has_the_codebooks_that_it_can_have(entry: str, message: str) -> None:
    image = "kind: image, size: 8, patch: 4, cell: {type: direction}"
    with pytest.raises(SchemaError) as caught:
        schema_of(normals=f"{image}, {entry}")

    assert f"modalities.normals.vocab_size: is the size of no codebook of {message}" in str(caught.value)


def test_a_residual_codec_has_as_many_tokens_as_the_entry_says() -> None:
    asked = only_stream("kind: vector, dim: 40, codec: mlp-rvq, tokens: 3")

    assert (asked.grid, asked.vocab_size) == ((3,), 1024)
    assert only_stream("kind: vector, dim: 40, codec: mlp-rvq").grid == (16,)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (
            "kind: image, size: 8, patch: 4, cell: {type: direction}, axes: {time: 8}",
            "only vectors repeat along an axis in this version; got image, {'time': 8}; "
            "remove axes; declare one modality per step",
        ),
        (
            "kind: vector, dim: 40, axes: {time: 8}",
            "what repeats along an axis is cut into bins, or shown as values; got codec 'mlp-pq'; "
            "give ranges, or write shown: [values]",
        ),
    ],
)
def test_an_axis_is_refused_where_it_has_no_meaning_yet(entry: str, message: str) -> None:
    """With what to do instead."""
    with pytest.raises(PlanError) as caught:
        resolve(schema_of(wind=entry))

    assert str(caught.value) == f"modalities.wind.axes: {message}"


def test_a_vector_repeats_along_an_axis() -> None:
    """In bins, a token per step and number, each with a position of its own; dense, a token per step."""
    wind = "kind: vector, dim: 2, ranges: [0, 1], axes: {time: 8}"
    plan = resolve(schema_of(wind=f"{wind}, shown: [values, tokens]"))
    values, tokens = plan.stream("wind.values"), plan.stream("wind.tokens")

    assert (values.length, values.dense_dim, values.positions) == (8, 2, "sincos-1d")
    assert (tokens.length, tokens.grid, tokens.positions) == (16, (16,), "learned-1d")


def test_explain_has_a_row_for_each_stream_in_words() -> None:
    """What `fourm explain` prints."""
    rows = {row.stream: row for row in explain_rows(resolve(parse_schema(DIGITS)))}

    assert list(rows) == ["digit.pixels", "digit.tokens", "strokes.tokens", "shape.tokens", "caption.tokens"]
    assert (rows["digit.pixels"].tokens, rows["digit.pixels"].vocabulary) == (
        "16 (4 x 4)",
        "- (4 numbers per token)",
    )
    assert (rows["digit.tokens"].tokens, rows["digit.tokens"].vocabulary) == ("64 (8 x 8)", "17 ids")
    assert (rows["shape.tokens"].tokens, rows["shape.tokens"].role) == ("6", "both")
    assert (rows["caption.tokens"].tokens, rows["caption.tokens"].vocabulary) == (
        "at most 16",
        "words (128 ids)",
    )


def test_everything_the_language_can_say_resolves_and_explains() -> None:
    """Sets and learned codecs are described in full even where they cannot be trained."""
    plan = resolve(parse_schema(EVERYTHING))

    assert len(explain_rows(plan)) == len(plan.streams) == 12
    assert plan.stream("boxes").length == 20 * (4 + 1 + 1 + 1 + 1 + 2 + 2 + 3 + 16 + 8) + 1
    assert plan.stream("boxes").vocabulary == "boxes.tokens"
    assert plan.stream("land").grid == (14, 7)
    assert plan.stream("dino").length == 16
