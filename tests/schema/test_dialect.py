"""Sets in the words of 4M: what a schema may say of them, and what follows."""

from pathlib import Path

import pytest

from fourm_runtime.released.modalities import MODALITIES
from fourm_runtime.released.schema import released_schema
from fourm_schema.errors import SchemaError
from fourm_schema.load import dump_schema, load_schema
from fourm_schema.modality import Set
from fourm_schema.resolve import resolve

FILE = """\
version: 1
vocabularies:
  words: {{kind: wordpiece, size: 30000, sentinels: 200, rows: own}}
modalities:
  det:
    kind: set
    max_items: 51
    {more}
    dialect: {{name: 4m, vocabulary: words, max_tokens: 256{dialect}}}
    fields: {{{fields}}}
"""
BOXES = "box: {type: box}, label: {type: category, classes: coco80}"


def schema_file(folder: Path, fields: str = BOXES, dialect: str = "", more: str = "role: both") -> Path:
    path = folder / "modalities.yaml"
    path.write_text(FILE.format(fields=fields, dialect=dialect, more=more))
    return path


def test_a_set_in_words_is_a_sequence_of_its_vocabulary(tmp_path: Path) -> None:
    """It has no id space of its own; its length is what it says, not what its items could have."""
    schema = load_schema(schema_file(tmp_path, dialect=", position_rows: 512, target_positions: 300"))
    plan = resolve(schema)
    stream = plan.stream("det")

    assert (stream.kind, stream.codec, stream.vocabulary) == ("set", "grammar-4m", "words")
    assert (stream.vocab_size, stream.length, stream.row_space) == (30_000, 256, "det.tokens")
    assert (stream.position_count, stream.target_ranks) == (512, 300)
    assert [vocabulary.name for vocabulary in plan.vocabularies] == ["words"]


def test_released_records_keep_the_rules_of_a_file(tmp_path: Path) -> None:
    """What an import writes down can be read as a file of the user's."""
    texts = [name for name, known in MODALITIES.items() if known.kind == "text"]
    schema = released_schema(texts, texts, text_codec="tokenizer")
    path = tmp_path / "schema.yaml"
    path.write_text(dump_schema(schema))

    assert load_schema(path) == schema
    assert sum(isinstance(entry, Set) for entry in schema.modalities.values()) == 5


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"fields": "box: {type: box}, what: {type: text, vocabulary: words, max_tokens: 3}"},
            r"fields: are no records that 4M writes; got box, what; the forms .* detections: box, label; ",
        ),
        (
            {"fields": "box: {type: box, convention: xywh}, label: {type: category, classes: 3}"},
            r"box\.convention: .* is fixed .*; got 'xywh'; write convention: 'xyxy', or leave the",
        ),
        (
            {"fields": "box: {type: box, bins: 2000}, label: {type: category, classes: 3}"},
            r"box\.bins: 4M has words for 1000 coordinates; got 2000; write 1000",
        ),
        (
            {"fields": "box: {type: box, optional: true}, label: {type: category, classes: 3}"},
            r"box\.optional: optional of box is fixed",
        ),
        (
            {"fields": "color: {type: vector, dim: 4, range: [0, 255]}"},
            r"color\.dim: dim of color is fixed where palette are written in 4M's words; got 4; write dim: 3",
        ),
        (
            {"fields": "color: {type: vector, dim: 3, range: [0, 255]}"},
            r"max_items: 4M writes at most 7 records of palette; got 51; write 7",
        ),
        (
            {"fields": "n_humans: {type: number, range: [-0.5, 999.5], bins: 1000, optional: true}"},
            r"max_items: 4M writes one record of metadata; got 51; write 1",
        ),
        (
            {"fields": "color: {type: vector, dim: 3, range: [0, 255]}", "more": "order: random"},
            r"order: 4M writes palette in no such order; got 'random'; legal: given",
        ),
        (
            {"dialect": ", position_rows: 20"},
            r"dialect\.position_rows: must be 256 or more, as max_tokens is",
        ),
        ({"dialect": ", max_words: 20"}, r"dialect\.max_words"),
        (
            {"more": "codec: grammar"},
            r"codec: cannot be 'grammar' for a set shown as tokens; .*legal: grammar-4m",
        ),
    ],
)
def test_what_4m_does_not_write_is_told(keys: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=message):
        load_schema(schema_file(tmp_path, **keys))


def test_its_vocabulary_is_declared(tmp_path: Path) -> None:
    path = schema_file(tmp_path)
    path.write_text(path.read_text().replace("vocabulary: words", "vocabulary: word"))

    with pytest.raises(SchemaError, match=r"dialect\.vocabulary: is no vocabulary of this file; got 'word'"):
        load_schema(path)
