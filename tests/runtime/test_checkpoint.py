"""Claims about checkpoints: whole or not at all, checked before use, and never a way to run code."""

import json
import os
import pickle  # noqa: TID251  (to make what must be refused)
import shutil
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import torch
from safetensors.torch import load_file, save_file

from fourm_runtime.assemble import assemble
from fourm_runtime.checkpoints.files import replacing
from fourm_runtime.checkpoints.run_folder import find_checkpoint
from fourm_runtime.checkpoints.store import Checkpoint, load, load_training_state, save
from fourm_schema.architecture import Architecture
from fourm_schema.errors import CheckpointError
from fourm_schema.resolve import resolve
from tests.runtime.small_run import small_codecs, small_recipe, small_schema, small_train

FILES = [
    "model.safetensors",
    "config.json",
    "schema.yaml",
    "codecs/caption/codec.json",
    "training/state.json",
    "training/optimizer.safetensors",
    "training/average.safetensors",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint with everything a checkpoint can have."""
    run = tmp_path_factory.mktemp("trained")
    small_train(run, small_recipe(steps={"total": 1}))
    return find_checkpoint(run)


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    """The same, to be spoiled."""
    return Path(shutil.copytree(trained, tmp_path / "copy"))


def read_all(path: Path) -> None:
    """Read everything of a checkpoint that anything here ever reads."""
    load(path)
    load(path, averaged=True)
    load_training_state(path)


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(dim=32, heads=4, encoder_depth=1, decoder_depth=1),
        Architecture(
            dim=16,
            heads=2,
            encoder_depth=2,
            decoder_depth=1,
            gated_mlp=False,
            activation="gelu",
            qkv_bias=True,
            qk_norm=True,
            registers=2,
            tie_head=False,
            share_stream_embedding=False,
        ),
    ],
    ids=["shared", "apart"],
)
def test_a_model_comes_back_bit_for_bit(architecture: Architecture, tmp_path: Path) -> None:
    """Shared tables are stored once and are shared again."""
    schema = small_schema()
    model = assemble(resolve(schema), architecture, seed=1)
    save(tmp_path / "x", Checkpoint.of(model, schema, small_codecs(schema)))
    found = load(tmp_path / "x")

    assert (found.schema, found.plan, found.allocation, found.architecture) == (
        schema,
        model.plan,
        model.allocation,
        architecture,
    )
    again = found.model()
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())
    shared = again.tables.encoder_streams is again.tables.decoder_streams
    assert shared == architecture.share_stream_embedding
    assert found.codecs["caption"].decode(found.codecs["caption"].encode(["one two"])) == ["one two"]


def test_a_run_means_its_latest_checkpoint(tmp_path: Path) -> None:
    small_train(tmp_path, small_recipe(steps={"total": 9}))

    assert find_checkpoint(tmp_path).name == "step-00000009"
    (tmp_path / "checkpoints" / "latest").write_text("step-00000004\n")
    assert find_checkpoint(tmp_path).name == "step-00000004"
    for nonsense in ("../../elsewhere", "step-00000007", ""):
        (tmp_path / "checkpoints" / "latest").write_text(nonsense)
        assert find_checkpoint(tmp_path).name == "step-00000009"


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"is no checkpoint: it has no config\.json; give the directory"
    ):
        load(tmp_path / "nowhere")


def test_a_model_without_training_state_cannot_be_resumed_from(tmp_path: Path) -> None:
    schema = small_schema()
    model = assemble(resolve(schema), small_recipe().model.architecture())
    save(tmp_path / "x", Checkpoint.of(model, schema))

    with pytest.raises(CheckpointError, match=r"has no training state, so no run can go on from it"):
        load_training_state(tmp_path / "x")


@pytest.mark.parametrize("file", [name for name in FILES if name != "codecs/caption/codec.json"])
def test_a_missing_file_is_named(copy: Path, file: str) -> None:
    (copy / file).unlink()

    with pytest.raises(CheckpointError) as error:
        read_all(copy)

    # Without its config a directory is no checkpoint, and without its state no run's.
    known = {"config.json": "no config.json", "training/state.json": "no training state"}
    average = {"training/average.safetensors": "keeps no average"}
    assert {**known, **average}.get(file, Path(file).name) in str(error.value)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("share", [0.0, 0.5, 0.97])
def test_a_truncated_file_is_named(copy: Path, file: str, share: float) -> None:
    """What a full disk or an interrupted copy leaves."""
    content = (copy / file).read_bytes()
    (copy / file).write_bytes(content[: int(len(content) * share)])

    with pytest.raises(CheckpointError, match=Path(file).name.replace(".", r"\.")):
        read_all(copy)


class Payload:
    """Unpickling this creates a file: what a stranger's checkpoint could do to who loads it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (str(self.path),)


def test_the_payload_is_a_real_one(tmp_path: Path) -> None:
    """The test below proves nothing unless loading the pickle would do what it says."""
    pickle.loads(pickle.dumps(Payload(tmp_path / "ran")))

    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kind", ["pickle", "torch.save"])
def test_a_pickle_in_place_of_a_file_is_refused_and_not_run(copy: Path, file: str, kind: str) -> None:
    """A checkpoint may come from anywhere. It is read as data or not at all."""
    payload = {"weights": Payload(copy / "ran")}
    if kind == "pickle":
        (copy / file).write_bytes(pickle.dumps(payload))
    else:
        torch.save(payload, copy / file)  # noqa: TID251  (as above)

    with pytest.raises(CheckpointError) as error:
        read_all(copy)

    assert Path(file).name in str(error.value)
    if file.endswith("safetensors"):
        assert "a pickle, which is never read here since unpickling runs code" in str(error.value)
    assert not (copy / "ran").exists()


def test_every_tensor_that_disagrees_is_listed(copy: Path) -> None:
    """Repairing a checkpoint one error at a time takes a day."""
    tensors = load_file(copy / "model.safetensors")
    del tensors["tables.mask_token"]
    tensors["context_proj.bias"] = torch.zeros(7)
    tensors["stranger"] = torch.zeros(2, 3)
    save_file(tensors, copy / "model.safetensors")

    with pytest.raises(CheckpointError) as error:
        load(copy)

    message = str(error.value)
    assert "3 tensors disagree with config.json" in message
    assert "context_proj.bias: expected (32,), found (7,)" in message
    assert "stranger: expected nothing, found (2, 3)" in message
    assert "tables.mask_token: expected (32,), found nothing" in message


Config = dict[str, dict[str, object]]


def change_plan(config: Config) -> None:
    config["plan"]["schema_hash"] = "0" * 64


def change_rows(config: Config) -> None:
    spans = config["allocation"]["tokens"]
    assert isinstance(spans, dict)
    spans["digit.tokens"]["start"] += 1


def add_field(config: Config) -> None:
    config["architecture"]["secret"] = 1


def change_type(config: Config) -> None:
    config["architecture"]["dim"] = "32"


def lose_field(config: Config) -> None:
    del config["architecture"]["heads"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (change_plan, r"was edited: its plan has another hash"),
        (change_rows, r"its rows do not fit its plan"),
        (add_field, r"extra fields found \(secret\)"),
        (change_type, r"architecture\.dim"),
        (lose_field, r"required field missing @ \.?architecture\.heads"),
    ],
)
def test_an_edited_config_is_refused(copy: Path, change: Callable[[Config], None], message: str) -> None:
    config = json.loads((copy / "config.json").read_text())
    change(config)
    (copy / "config.json").write_text(json.dumps(config))

    with pytest.raises(CheckpointError, match=message):
        load(copy)


def test_a_checkpoint_of_a_newer_format_says_so(copy: Path) -> None:
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "format": 2}))

    with pytest.raises(CheckpointError, match=r"not of format 1.*got format 2; read it with the release"):
        load(copy)


def test_an_edited_schema_is_refused(copy: Path) -> None:
    """Ids would mean other values than those the model learned."""
    text = (copy / "schema.yaml").read_text()
    assert "range: [0.0, 16.0]" in text
    (copy / "schema.yaml").write_text(text.replace("range: [0.0, 16.0]", "range: [0.0, 32.0]"))

    with pytest.raises(CheckpointError, match=r"is not the schema the model was trained on.*--extend"):
        load(copy)


def test_a_directory_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "x"
    for text in ("old", "new"):
        with replacing(target) as fresh:
            (fresh / "file").write_text(text)
    assert (target / "file").read_text() == "new"

    with pytest.raises(FileNotFoundError), replacing(target) as fresh:
        (fresh / "no such folder" / "file").write_text("half")

    assert (target / "file").read_text() == "new"
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_the_card_says_what_the_model_takes_and_gives(trained: Path) -> None:
    card = (trained / "README.md").read_text()

    assert "| `digit.pixels` | image | input | 16 | none |" in card
    assert "after 1 steps" in card


def test_a_checkpoint_of_a_checkpoint_is_the_same(trained: Path, tmp_path: Path) -> None:
    """Nothing that was read is lost in writing."""
    first = load(trained)
    save(tmp_path / "again", first)
    second = load(tmp_path / "again")

    assert attrs.asdict(first, filter=_plain) == attrs.asdict(second, filter=_plain)
    for name in ("config.json", "schema.yaml", "model.safetensors", "codecs/caption/codec.json"):
        assert (trained / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def _plain(field: "attrs.Attribute[object]", value: object) -> bool:
    return field.name not in ("weights", "codecs")
