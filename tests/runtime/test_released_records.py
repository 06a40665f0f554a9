"""An imported model with its tokenizer takes and gives records: boxes, metadata, poses, palettes, masks."""

import json
from pathlib import Path

import pytest
import torch

from fourm_codecs.lawbook.sample_words import small_tokenizer
from fourm_codecs.sets_4m import RecordTextCodec
from fourm_codecs.tokenizer_file import TokenizerFile
from fourm_runtime.any_to_any import AnyToAny
from fourm_runtime.checkpoints.store import save
from fourm_runtime.generation.request import Prefix
from fourm_runtime.released.importing import import_4m
from fourm_runtime.released.modalities import Found
from fourm_schema.errors import CodecError, RequestError
from fourm_schema.modality import Set, Text
from tests.runtime.command_line import run
from tests.runtime.small_release import contents, small_release

DOG: dict[str, object] = {"box": [0.1, 0.2, 0.5, 0.6], "label": "dog"}
GIVEN: dict[str, list[dict[str, object]]] = {
    "det": [DOG],
    "metadata": [{"original_width": 640, "n_humans": 2, "aesthetic_score": 5.0}],
    "color_palette": [{"color": [10, 20, 30]}],
    "human_poses": [
        {
            "box": [0, 0, 1, 1],
            "pose": [600.0] * 8,
            "global": [0.5] * 9,
            "camera": [0.0] * 3,
            "shape": [1.0] * 10,
        }
    ],
    "sam_instance": [{"point": [3, 4], "polygon": [0, 0, 9, 9], "codes": [7.0] * 16}, {"point": [8, 8]}],
}
TOKENIZER = small_tokenizer()
SIZE = TokenizerFile(TOKENIZER, "the tokenizer").size
FOUND = tuple(Found(name, "both", SIZE, 512, 0) for name in ("caption", *GIVEN))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A released file, its tokenizer, and the model that was imported with it."""
    found = tmp_path_factory.mktemp("records")
    (found / "tokenizer.json").write_bytes(TOKENIZER)
    released = small_release(found, found=FOUND)
    save(found / "imported", import_4m(released, found / "tokenizer.json"))
    return found


@pytest.fixture(scope="module")
def model(folder: Path) -> AnyToAny:
    return AnyToAny.from_pretrained(folder / "imported")


def test_records_only_change_how_ids_are_read(folder: Path) -> None:
    """With and without a tokenizer: the same streams, the same rows, the same numbers."""
    ids, records = (
        import_4m(folder / "model.safetensors", file) for file in (None, folder / "tokenizer.json")
    )

    for plain, typed in zip(ids.plan.streams, records.plan.streams, strict=True):
        same = ("name", "length", "vocabulary", "vocab_size", "row_space", "position_count", "target_ranks")
        assert [getattr(plain, key) for key in same] == [getattr(typed, key) for key in same]
    assert records.allocation == ids.allocation
    assert all(torch.equal(records.weights[name], tensor) for name, tensor in ids.weights.items())
    assert {type(entry) for entry in ids.schema.modalities.values()} == {Text}
    assert [name for name, entry in records.schema.modalities.items() if isinstance(entry, Set)] == [*GIVEN]


def test_an_export_gives_the_file_back(folder: Path, tmp_path: Path) -> None:
    code, _, _ = run("export", "4m", folder / "imported", "--to", tmp_path / "out.safetensors")
    tensors, metadata = contents(folder / "model.safetensors")
    found, told = contents(tmp_path / "out.safetensors")

    assert code == 0 and told == metadata
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


@pytest.mark.parametrize("name", GIVEN)
def test_records_go_in_and_come_out(name: str, model: AnyToAny) -> None:
    """Drawn under the grammar, by a model that knows nothing: each is a value, and none is damaged."""
    codec = model.codecs[name]
    assert isinstance(codec, RecordTextCodec)
    others = {other: value for other, value in GIVEN.items() if other != name}
    made = model.generate([others] * 3, [name], temperature=3.0)

    for sample in made:
        assert isinstance(sample[name].value, list)
        assert len(sample[name].tokens) <= codec.entry.max_tokens
        assert codec.law.check(sample[name].value, sample[name].value) == []


@pytest.mark.parametrize("name", ["det", "metadata", "human_poses", "sam_instance"])
def test_records_that_are_given_are_drawn_on(name: str, model: AnyToAny) -> None:
    codec = model.codecs[name]
    assert isinstance(codec, RecordTextCodec)
    (given,) = codec.decode(codec.encode([GIVEN[name]]))
    value = model.generate({name: Prefix(GIVEN[name])}, [name], temperature=3.0)[0][name].value
    assert isinstance(value, list)

    if name == "metadata":
        assert all(value[0][key] == number for key, number in given[0].items() if number is not None)
    else:
        assert all(record in value for record in given)


def test_a_part_of_a_record_is_not_drawn_on(model: AnyToAny) -> None:
    """In 4M's words records are whole: what is missing is named."""
    with pytest.raises(RequestError, match=r"det.*field 'box': is missing"):
        model.generate({"det": Prefix([{"label": "dog"}])}, ["det"])


def test_generate_reads_and_writes_records(folder: Path, tmp_path: Path) -> None:
    """As of any set: JSON goes in, a table comes out, and files of JSON."""
    code, printed, said = run(
        *("generate", folder / "imported", "--from", f"det={json.dumps([DOG])}"),
        *(
            "--from",
            'metadata={"n_humans": 2}',
            "--to",
            "color_palette,human_poses",
            "--out",
            tmp_path / "out",
        ),
    )

    assert code == 0, said
    assert "color_palette: " in printed and "human_poses: " in printed
    colours = json.loads((tmp_path / "out" / "color_palette-0.json").read_text())
    assert all(0 <= channel <= 255 for record in colours for channel in record["color"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ('det=[{"box": [0, 0, 1, 2], "label": "dog"}]', r"field 'box' y1: lies in [0, 1]; got 2"),
        (
            'det=[{"box": [0, 0, 1, 1], "label": "dgo"}]',
            "is none of the classes; got 'dgo'; did you mean 'dog'?",
        ),
        ('color_palette=[{"color": [0, 0, 300]}]', "field 'color' at [2]: lies in [0, 255]; got 300"),
    ],
)
def test_generate_tells_what_is_no_record(given: str, message: str, folder: Path) -> None:
    code, _, said = run("generate", folder / "imported", "--from", given, "--to", "caption")

    assert code == 2 and message in said


def test_a_tokenizer_without_the_words_is_refused(folder: Path, tmp_path: Path) -> None:
    """The tokens that boxes and metadata need are named, before anything is written."""
    other = tmp_path / "other.json"
    other.write_bytes(TOKENIZER.replace(b'"v1=17"', b'"w1=17"'))

    with pytest.raises(
        CodecError, match=r"its tokenizer has no word for coordinates .*; got it lacks v1=17; give"
    ):
        import_4m(folder / "model.safetensors", other)
