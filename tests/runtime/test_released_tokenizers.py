"""Released tokenizers by their verbs, and in an imported model: image -> ids -> model -> ids -> image."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from typer.testing import CliRunner

from fourm_codecs.base import TokenBatch
from fourm_codecs.store import load_codec, save_codec
from fourm_runtime.any_to_any import AnyToAny
from fourm_runtime.checkpoints.store import load
from fourm_runtime.cli.app import app
from fourm_runtime.released.importing import import_4m
from fourm_runtime.released.tokenizers import SUBJECTS, import_tokenizer
from fourm_schema.errors import CheckpointError, CodecError, RequestError
from fourm_schema.modality import Image
from tests.codecs.small_tokenizer import (
    CLASS_MAPS,
    DIFFUSION,
    FEATURE_MAPS,
    HEADS,
    IMAGES,
    VECTORS,
    Config,
    tensors_of,
    write,
)
from tests.runtime.small_release import contents, small_release


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A released model, and tokenizers of two of its modalities."""
    place = tmp_path_factory.mktemp("released")
    small_release(place)
    write(place / "images" / "model.safetensors", IMAGES)
    write(place / "vectors" / "model.safetensors", VECTORS)
    write(place / "diffusion" / "model.safetensors", DIFFUSION)
    save_codec(import_tokenizer(place / "images", "tok_depth", heads=HEADS), place / "depth")
    save_codec(import_tokenizer(place / "diffusion", "tok_depth", heads=HEADS), place / "divae")
    return place


def fourm(*arguments: str | Path) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, " ".join(done.stderr.replace("│", " ").split())


def importing(folder: Path, depth: str = "depth") -> AnyToAny:
    tokenizers = {"tok_depth@224": folder / depth, "tok_dinov2_global": folder / "vectors"}
    return AnyToAny.from_pretrained(folder / "model.safetensors", tokenizers=tokenizers)


def test_an_image_becomes_ids_a_model_makes_ids_of_them_and_they_become_an_image(folder: Path) -> None:
    """The size is the model's, whose grid is 4 x 4, whatever the tokenizer was trained at."""
    model = importing(folder)
    depth = np.linspace(0, 1, 256).reshape(16, 16)
    codec = model.codecs["tok_depth"]

    vector = model.generate({"tok_depth": depth}, ["tok_dinov2_global"], steps=1)[0]["tok_dinov2_global"]
    image = model.generate({"caption": [210]}, ["tok_depth@224"], steps=2)[0]["tok_depth"]
    again = model.generate({"tok_depth": image.value}, ["tok_dinov2_global"], steps=1)

    assert np.asarray(vector.value).shape == (6,) and len(vector.tokens) == 16
    assert np.asarray(image.value).shape == (16, 16) and len(image.tokens) == 16
    assert np.asarray(image.value).min() >= 0 and np.asarray(image.value).max() <= 1
    (decoded,) = codec.decode(TokenBatch.of([image.tokens], codec.vocab_size))
    assert np.array_equal(np.asarray(image.value), np.asarray(decoded))
    assert again[0]["tok_dinov2_global"].tokens.shape == (16,)


def test_the_model_is_the_one_without_tokenizers(folder: Path, tmp_path: Path) -> None:
    """A tokenizer says what ids mean; what the model does with them stays, and so does its export."""
    model, plain = importing(folder), AnyToAny.from_pretrained(folder / "model.safetensors")
    depth = np.linspace(0, 1, 256).reshape(16, 16)
    ids = model.codecs["tok_depth"].encode([depth]).ids.reshape(4, 4)

    name = "tok_dinov2_global"
    by_value = model.generate({"tok_depth": depth}, [name], seed=3, steps=2)[0][name]
    by_ids = plain.generate({"tok_depth": ids}, [name], seed=3, steps=2)[0][name]
    model.save_pretrained(tmp_path / "model")
    code, _, _ = fourm("export", "4m", tmp_path / "model", "--to", tmp_path / "out.safetensors")

    assert np.array_equal(by_value.tokens, by_ids.tokens)
    assert code == 0
    tensors, told = contents(folder / "model.safetensors")
    found, metadata = contents(tmp_path / "out.safetensors")
    assert metadata == told
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)


def test_the_verbs_give_a_model_its_tokenizers(folder: Path, tmp_path: Path) -> None:
    """From the released files to a generated picture and vector."""
    picture = tmp_path / "depth.npy"
    np.save(picture, np.linspace(0, 1, 256).reshape(16, 16).astype(np.float32))

    made = fourm(
        *("import", "4m-tokenizer", folder / "images", "--for", "tok_depth@16", "--heads", "2"),
        *("--to", tmp_path / "codec"),
    )
    done = fourm(
        *("import", "4m", folder / "model.safetensors", "--to", tmp_path / "model"),
        *("--tokenizer", f"tok_depth@224={tmp_path / 'codec'}"),
        *("--tokenizer", f"tok_dinov2_global={folder / 'vectors'}"),
    )
    code, printed, said = fourm(
        *("generate", tmp_path / "model", "--from", f"tok_depth={picture}", "--steps", "1"),
        *("--to", "tok_dinov2_global", "--out", tmp_path / "out"),
    )
    back = fourm(
        *("generate", tmp_path / "model", "--from", "caption=[210]", "--to", "tok_depth", "--steps", "1"),
        *("--out", tmp_path / "out"),
    )

    assert made[0] == 0 and "codec: tok_depth, 4x4 tokens of 40 ids; decoding gives back a value" in made[1]
    assert done[0] == 0
    assert code == 0, said
    assert "tok_dinov2_global: vector of 6 numbers" in printed
    assert back[0] == 0 and "tok_depth: image 16x16" in back[1]
    assert np.load(tmp_path / "out" / "tok_depth-0.npy").shape == (16, 16)
    assert (tmp_path / "out" / "tok_depth-0.png").exists()
    entry = load(tmp_path / "model").schema.modality("tok_depth@224")
    assert isinstance(entry, Image) and (entry.codec, entry.size, entry.patch) == ("vq-4m", (16, 16), (4, 4))


def test_a_saved_model_keeps_its_tokenizers(folder: Path, tmp_path: Path) -> None:
    model = importing(folder)
    model.save_pretrained(tmp_path / "model")
    again = AnyToAny.from_pretrained(tmp_path / "model")
    depth = np.linspace(0, 1, 256).reshape(16, 16)

    with pytest.raises(CheckpointError, match=r"is no released model, and has its tokenizers already"):
        AnyToAny.from_pretrained(tmp_path / "model", tokenizers={"tok_depth": folder / "depth"})
    assert again.codecs["tok_depth"].encode([depth]).same(model.codecs["tok_depth"].encode([depth]))
    assert again.schema.modality("tok_depth@224").description == "relative depth"


def test_what_only_diffusion_decodes_is_an_input_and_refused_as_a_target(folder: Path) -> None:
    """Before anything is computed; as an input it serves."""
    model = importing(folder, "divae")
    depth = np.linspace(0, 1, 256).reshape(16, 16)

    assert model.generate({"tok_depth": depth}, ["tok_dinov2_global"], steps=1)
    with pytest.raises(
        RequestError, match=r"targets\.tok_depth: its ids decode by diffusion \(DiVAE, dec_type 'unet_xxs'\)"
    ):
        model.generate({"caption": [210]}, ["tok_depth", "tok_dinov2_global"])


def test_the_verb_says_that_a_diffusion_decoder_cannot_be_run(folder: Path, tmp_path: Path) -> None:
    code, printed, _ = fourm(
        *("import", "4m-tokenizer", folder / "diffusion", "--for", "tok_depth", "--heads", "2"),
        *("--to", tmp_path / "codec"),
    )

    assert code == 0 and "which this version cannot run; it serves as an input" in printed


@pytest.mark.parametrize(
    ("name", "config", "shape"),
    [
        ("tok_rgb", {**IMAGES, "n_channels": 3}, (16, 16, 3)),
        ("tok_rgb@32", {**IMAGES, "n_channels": 3}, (32, 32, 3)),
        ("tok_normal", {**IMAGES, "n_channels": 3}, (16, 16, 3)),
        ("tok_canny_edge", {**IMAGES, "n_channels": 3}, (16, 16, 3)),
        ("tok_semseg", CLASS_MAPS, (16, 16)),
        ("tok_clip@24", FEATURE_MAPS, (6, 6, 3)),
        ("tok_imagebind_global", VECTORS, (6,)),
        ("human_pose", VECTORS, (6,)),
    ],
)
def test_a_4m_name_says_what_the_values_are(
    name: str, config: Config, shape: tuple[int, ...], tmp_path: Path
) -> None:
    """Kind and units from the name, channels from the tokenizer; its size too, if the name has none."""
    heads = HEADS if config is not VECTORS else 0
    codec = import_tokenizer(write(tmp_path / "model.safetensors", config), name, heads=heads)

    assert codec.scale == SUBJECTS[name.partition("@")[0]].scale
    assert codec.decode(codec.encode([np.zeros(shape)]))[0].shape == shape


def test_weights_of_half_precision_are_read(tmp_path: Path) -> None:
    whole = {name: tensor.astype(np.float16) for name, tensor in tensors_of(VECTORS).items()}
    half = import_tokenizer(write(tmp_path / "half.safetensors", VECTORS, whole), "tok_dinov2_global")
    wide = {name: tensor.astype(np.float32) for name, tensor in whole.items()}
    full = import_tokenizer(write(tmp_path / "full.safetensors", VECTORS, wide), "tok_dinov2_global")

    assert half.encode([np.ones(6)]).same(full.encode([np.ones(6)]))


def test_a_configuration_may_stand_beside_the_weights(tmp_path: Path) -> None:
    save_file(tensors_of(VECTORS), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(json.dumps({"config": VECTORS}))

    assert import_tokenizer(tmp_path, "human_pose").token_shape == (16,)


PHOTOS = """
version: 1
modalities:
  photo:
    kind: image
    size: 8
    patch: 4
    cell: {type: continuous, range: [0, 4], levels: 5}
    codec: vq-4m
    vocab_size: 40
  plain: {kind: image, size: 8, patch: 4, cell: {type: continuous, range: [0, 4]}}
"""


def test_a_modality_of_a_schema_of_ones_own_uses_a_released_tokenizer(folder: Path, tmp_path: Path) -> None:
    """Its size, range and levels are the file's; what it keeps of data is measured by `fourm codec check`."""
    file, samples, data = tmp_path / "photos.yaml", tmp_path / "samples.jsonl", tmp_path / "photos.lance"
    file.write_text(PHOTOS)
    arguments = ("import", "4m-tokenizer", folder / "images", "--schema", file, "--heads", "2")

    made = fourm(*arguments, "--for", "photo", "--to", tmp_path / "codecs" / "photo")
    file.write_text(PHOTOS.partition("  plain")[0])
    rows = [{"photo": np.full((8, 8), number % 5).tolist()} for number in range(6)]
    samples.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    imported = fourm("data", "import", samples, "--schema", file, "--to", data)
    encoded = fourm("data", "encode", data, "--codecs", tmp_path / "codecs")
    options = ("--codecs", tmp_path / "codecs", "--examples", "6", "--data", data, "--json")
    checked = fourm("codec", "check", file, *options)
    (row,) = json.loads(checked[1])
    codec = load_codec(tmp_path / "codecs" / "photo")
    (back,) = codec.decode(codec.encode([np.ones((8, 8))]))

    assert made[0] == 0 and "photo, 2x2 tokens of 40 ids" in made[1]
    assert imported[0] == encoded[0] == checked[0] == 0
    assert row["law"].endswith("what it keeps was not measured")
    assert row["measured"].startswith("root mean square error ") and "ids in 6 values" in row["measured"]
    assert set(np.unique(np.asarray(back)).tolist()) <= {0, 1, 2, 3, 4}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--for", "tok_dept"), "tok_dept: is nothing that 4M has a tokenizer of; did you mean 'tok_depth'?"),
        (("--for", "tok_depth@15"), "names no size that is whole patches of 4 pixels; got '15'"),
        (("--for", "tok_semseg"), "values: the entry has class maps, the tokenizer images of numbers"),
        (("--for", "x", "--schema", "SCHEMA"), "x: is no modality of the schema; known: photo, plain"),
        (
            ("--for", "plain", "--schema", "SCHEMA"),
            "does not ask for the codec 'vq-4m'; got no codec; write codec",
        ),
    ],
)
def test_what_the_values_are_must_be_told_right(
    arguments: tuple[str, ...], message: str, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "photos.yaml").write_text(PHOTOS)
    told = [str(tmp_path / "photos.yaml") if one == "SCHEMA" else one for one in arguments]

    code, _, said = fourm(
        "import", "4m-tokenizer", folder / "images", "--heads", "2", "--to", tmp_path / "codec", *told
    )

    assert code == 2 and message in said
    assert not (tmp_path / "codec").exists()


def test_a_pickle_is_refused_unread(tmp_path: Path) -> None:
    """What training wrote runs code when it is read."""
    file = tmp_path / "checkpoint.pth"
    file.write_bytes(b"PK\x03\x04" + bytes(40))

    with pytest.raises(
        CheckpointError, match=r"a pickle, which is never read here since unpickling runs code"
    ):
        import_tokenizer(file, "tok_rgb")


def test_faults_of_a_file_name_the_file(tmp_path: Path) -> None:
    tensors = tensors_of(VECTORS)
    del tensors["quantize.codes"]
    path = write(tmp_path / "model.safetensors", VECTORS, tensors)

    with pytest.raises(
        CodecError, match=r"model\.safetensors: 1 tensor is not .*\n    quantize\.codes: expected"
    ):
        import_tokenizer(path, "human_pose")


def test_tokenizers_that_are_not_the_models_are_told_at_once(folder: Path, tmp_path: Path) -> None:
    config = {**VECTORS, "num_codebooks": 8, "codebook_size": 31}
    write(tmp_path / "model.safetensors", config)
    classes = import_tokenizer(
        write(tmp_path / "classes.safetensors", {**CLASS_MAPS, "codebook_size": 41}),
        "tok_semseg",
        heads=HEADS,
    )
    save_codec(classes, tmp_path / "classes")

    with pytest.raises(CheckpointError) as caught:
        import_4m(
            folder / "model.safetensors",
            tokenizers={
                "tok_depth": tmp_path / "classes",
                "tok_dinov2_global": tmp_path / "model.safetensors",
            },
        )

    assert str(caught.value).splitlines() == [
        "the tokenizers: are not those of the model; give each its own, or none:",
        "    tok_depth: the model has continuous cells, the tokenizer categorical ones",
        "    tok_depth: the model has 40 ids, the tokenizer 41",
        "    tok_dinov2_global: the model has 16 tokens, the tokenizer 8",
        "    tok_dinov2_global: the model has 30 ids, the tokenizer 31",
    ]
    with pytest.raises(
        CheckpointError, match=r"tok_depth: the model has it as image, the tokenizer as vector"
    ):
        import_4m(folder / "model.safetensors", tokenizers={"tok_depth": save_vector(folder, tmp_path)})
    with pytest.raises(
        CheckpointError, match=r"caption: is no image or vector that the model has as token ids"
    ):
        import_4m(folder / "model.safetensors", tokenizers={"caption": folder / "depth"})


def save_vector(folder: Path, to: Path) -> Path:
    save_codec(import_tokenizer(folder / "vectors", "tok_dinov2_global"), to / "vector")
    return to / "vector"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("tok_depth",), "--tokenizer: is written NAME=PATH; got 'tok_depth'"),
        (("a=x", "a=y"), "--tokenizer: gives a a second time; got 'a=y'"),
    ],
)
def test_a_tokenizer_is_given_by_name(
    given: tuple[str, ...], message: str, folder: Path, tmp_path: Path
) -> None:
    options = [part for one in given for part in ("--tokenizer", one)]
    code, _, said = fourm("import", "4m", folder / "model.safetensors", "--to", tmp_path / "m", *options)

    assert code == 2 and message in said
