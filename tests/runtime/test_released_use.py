"""An imported model in use: by its verbs, from Python, with texts or with ids."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fourm_codecs.dense import DenseView
from fourm_runtime.any_to_any import AnyToAny
from fourm_runtime.assemble import empty_model, initialise
from fourm_runtime.checkpoints.grow import grow
from fourm_runtime.checkpoints.store import Checkpoint, save
from fourm_runtime.generation.samples import Sample, Tokens, packed
from fourm_runtime.released.exporting import export_4m, released_tensors
from fourm_runtime.released.importing import import_4m
from fourm_schema.allocation import allocate
from fourm_schema.architecture import Architecture
from fourm_schema.errors import CheckpointError, CodecError, RequestError
from fourm_schema.resolve import resolve
from fourm_schema.schema import Schema
from tests.runtime.command_line import run
from tests.runtime.small_release import WORDS, contents, small_release, tokenizer_file


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_release(tmp_path_factory.mktemp("released"))


def loaded(released: Path, folder: Path, tokenizer: Path | None = None) -> AnyToAny:
    save(folder / "model", import_4m(released, tokenizer))
    return AnyToAny.from_pretrained(folder / "model")


def test_the_verbs_bring_a_model_in_and_out_again(released: Path, tmp_path: Path) -> None:
    code, printed, _ = run("import", "4m", released, "--to", tmp_path / "model")
    assert code == 0 and "model: 5 streams, " in printed
    code, _, _ = run("export", "4m", tmp_path / "model", "--to", tmp_path / "out.safetensors")
    assert code == 0
    tensors, metadata = contents(released)
    found, told = contents(tmp_path / "out.safetensors")

    assert told == metadata
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_a_verb_never_writes_over_what_is_there(released: Path, tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "thesis.txt").write_text("all of it")

    code, _, said = run("import", "4m", released, "--to", tmp_path / "model")

    assert code == 2
    assert "exists already; give a new name, or remove it first" in said
    assert (tmp_path / "model" / "thesis.txt").exists()


def test_a_fault_of_a_file_becomes_a_panel(tmp_path: Path) -> None:
    code, _, said = run("import", "4m", tmp_path / "nothing.safetensors", "--to", tmp_path / "model")

    assert code == 2 and "does not exist" in said
    assert not (tmp_path / "model").exists()


def test_ids_pixels_and_vectors_go_in_and_ids_come_out(released: Path, tmp_path: Path) -> None:
    """Without tokenizers a model is used by its tokens, under either name."""
    model = loaded(released, tmp_path)
    picture = np.random.default_rng(0).integers(0, 256, (224, 224, 3))
    given = {
        "rgb@224": picture,
        "t5_caption": np.ones((3, 24)),
        "caption": [210, 211, 212],
        "tok_depth": np.arange(16).reshape(4, 4),
    }

    found = model.generate(given, ["tok_dinov2_global"], steps=1)[0]["tok_dinov2_global"]
    depth = model.generate({"caption": [210]}, {"tok_depth@224": {"steps": 2}})[0]["tok_depth"]
    said = model.generate({"rgb": picture}, ["caption"], seed=3)[0]["caption"]

    assert np.asarray(found.value).shape == (16,)
    assert np.asarray(depth.value).shape == (4, 4)
    assert len(np.asarray(said.value)) < 256 and (np.asarray(said.value) >= 204).all()


def test_pixels_are_brought_to_the_scale_the_model_was_trained_at(released: Path) -> None:
    """ImageNet's mean and deviation, channel last within a patch, rows of patches after each other."""
    view = DenseView.from_entry("rgb", import_4m(released).schema.modalities["rgb"])
    picture = np.random.default_rng(1).integers(0, 256, (224, 224, 3))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])

    tokens = view.encode([picture])[0]

    normalised = (picture / 255 - mean) / std
    assert tokens.shape == (16, 56 * 56 * 3)
    assert np.allclose(tokens[5], normalised[56:112, 56:112].reshape(-1), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"caption": "a dog"}, r"caption: a value is a row of token ids; got str; give it a tokenizer"),
        ({"caption": [210, 3]}, r"has at most 255 ids before its end, which is added; got 2 ids, the end"),
        ({"caption": [999]}, r"an id of this vocabulary is in \[0, 260\); got 999"),
        ({"tok_depth": np.zeros((2, 2), int)}, r"a value is 4x4 token ids; got int64 of shape 2x2"),
        ({"tok_depth": np.zeros((4, 4))}, r"a value is 4x4 token ids; got float64 of shape 4x4"),
        ({"t5_caption": np.zeros((78, 24))}, r"a sequence of 1 to 77 vectors of 24 numbers; got 78 of them"),
        ({"t5_caption": 5.0}, r"a sequence of 1 to 77 vectors of 24 numbers; got float"),
    ],
)
def test_values_that_are_none_are_refused(
    given: dict[str, object], message: str, released: Path, tmp_path: Path
) -> None:
    with pytest.raises(RequestError, match=message):
        loaded(released, tmp_path).generate(given, ["tok_dinov2_global"])


def test_what_a_model_cannot_serve_is_told_at_once(released: Path, tmp_path: Path) -> None:
    """By the names that were asked for, before the weights are read."""
    save(tmp_path / "model", import_4m(released))
    for file in (tmp_path / "model").glob("*.safetensors"):
        file.write_bytes(b"")

    code, _, said = run(
        *("generate", tmp_path / "model", "--from", "caption=[210]", "--from", "tok_dinov2_global=[1]"),
        *("--to", "rgb@224,t5_caption,tok_depth@224,tok_rgb@448", "--set", "tok_depth@224.steps=17"),
        *("--set", 'tok_depth@224.guidance={"rgb@224": 2}'),
    )

    assert code == 2 and "the request has 6 faults" in said
    for told in (
        "inputs.tok_dinov2_global: tok_dinov2_global.tokens has role target and cannot be given",
        "targets.rgb@224: rgb.pixels is dense, and only tokens can be generated",
        "targets.t5_caption: t5_caption.values is dense, and only tokens can be generated",
        "targets.tok_rgb@448: is no stream or modality",
        "targets.tok_depth@224: steps must be between 1 and its 16 tokens; got 17",
        "targets.tok_depth@224: condition 'rgb@224' is no input or earlier target",
    ):
        assert told in said, told


def test_generate_reads_and_writes_ids(released: Path, tmp_path: Path) -> None:
    """A line of the first ids for people, an array in a file; either is taken as an input again."""
    save(tmp_path / "model", import_4m(released))
    model, out = tmp_path / "model", tmp_path / "out"

    code, printed, _ = run(
        *("generate", model, "--from", "caption=[210, 211]", "--to", "tok_depth,tok_dinov2_global"),
        *("--steps", "1", "--temperature", "0", "--out", out),
    )
    again = run(
        *("generate", model, "--from", f"tok_depth@224={out / 'tok_depth-0.npy'}"),
        *("--continue", "caption=[212]", "--to", "caption"),
    )

    assert code == 0
    assert "tok_depth: 4x4 token ids: " in printed and "tok_dinov2_global: 16 token ids: " in printed
    assert sorted(file.name for file in out.iterdir()) == ["tok_depth-0.npy", "tok_dinov2_global-0.npy"]
    assert again[0] == 0 and "token ids: 212 " in again[1]


@pytest.mark.parametrize("value", ["[1, 2", "nothing.npy", "a dog"])
def test_what_is_no_ids_is_refused_before_anything_is_computed(
    value: str, released: Path, tmp_path: Path
) -> None:
    save(tmp_path / "model", import_4m(released))
    code, _, said = run("generate", tmp_path / "model", "--from", f"caption={value}", "--to", "tok_depth")

    assert code == 2 and "--from caption: are token ids: [1, 2, ...], or a file of them" in said


def test_with_its_tokenizer_a_model_reads_and_writes_texts(released: Path, tmp_path: Path) -> None:
    """The tokenizer travels inside the checkpoint; special tokens are spelled, as 4M has them."""
    model = loaded(released, tmp_path, tokenizer_file(tmp_path))
    codec = model.codecs["caption"]

    ids = codec.encode(["A dog v0=3 cat"]).ids.tolist()
    said = model.generate({"caption": "a dog"}, ["tok_depth"], steps=1)[0]["tok_depth"]
    text = model.generate({"tok_depth": np.zeros((4, 4), int)}, ["caption"], seed=1)[0]["caption"].value

    assert ids == [214, 240, 207, 241, 3]
    assert codec.decode(codec.encode(["A dog v0=3 cat"]))[0] == "a dog v0=3 cat"
    assert np.asarray(said.value).shape == (4, 4)
    assert isinstance(text, str)


def test_a_tokenizer_of_another_model_is_refused(released: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"caption: the model has 260 ids, the tokenizer 280"):
        import_4m(released, tokenizer_file(tmp_path, words=280))


def test_a_file_that_is_no_tokenizer_is_refused(released: Path, tmp_path: Path) -> None:
    other = tmp_path / "words.json"
    other.write_text('{"version": "1.0"}')
    with pytest.raises(CodecError, match=r"words\.json: is no tokenizer file"):
        import_4m(released, other)
    with pytest.raises(CodecError, match=r"there is no such file"):
        import_4m(released, tmp_path / "none.json")


def test_the_number_of_sentinels_is_that_of_the_tokenizer(released: Path, tmp_path: Path) -> None:
    """Words begin after them: what is a word and what a sentinel must be the tokenizer's to say."""
    found = import_4m(released, tokenizer_file(tmp_path, words=WORDS, sentinels=180))

    assert found.plan.vocabularies[0].special.sentinel_count == 180


def test_an_imported_model_can_grow(released: Path) -> None:
    """A new modality gets rows after the old ones, positions included; what was known stays bit for bit."""
    old = import_4m(released)
    kept = {name: entry for name, entry in old.schema.modalities.items() if name != "t5_caption"}
    more = {"land": {"kind": "image", "size": 6, "patch": 1, "cell": {"type": "categorical", "classes": 5}}}
    schema = Schema.model_validate(
        {
            **old.schema.model_dump(by_alias=True, exclude_unset=True),
            "modalities": {
                **{n: e.model_dump(by_alias=True, exclude_unset=True) for n, e in kept.items()},
                **more,
            },
        }
    )
    grown = grow(old, schema)

    for name, tensor in old.weights.items():
        if "t5_caption" not in name:
            assert torch.equal(grown.weights[name][: len(tensor)], tensor), name
    assert grown.plan.stream("land").length == 36
    assert grown.origin is None
    with pytest.raises(CheckpointError, match=r"land\.tokens: has no 4M name"):
        released_tensors(grown)


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_of_ours_can_be_released(tied: bool, tmp_path: Path) -> None:
    """Trained here, its head tied or not, its positions computed: the same logits there."""
    schema = import_4m(small_release(tmp_path)).schema
    shape = Architecture(dim=16, heads=2, encoder_depth=1, decoder_depth=1, tie_head=tied)
    plan = resolve(schema)
    model = empty_model(plan, allocate(plan), shape)
    initialise(model, 3)
    export_4m(Checkpoint.of(model, schema), tmp_path / "ours.safetensors")
    again = import_4m(tmp_path / "ours.safetensors").model()

    cells = np.arange(16, dtype=np.int32)
    asked = [
        Sample({"caption.tokens": Tokens.whole(np.array([210, 3], np.int32))}, {"tok_depth.tokens": cells})
    ]
    with torch.no_grad():
        found = [each(packed(asked, each))["tok_depth.tokens"] for each in (model, again)]
    assert torch.equal(*found)
