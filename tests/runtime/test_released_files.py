"""What a released file may be like, and what is said of one that is not right."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import torch

from fourm_runtime.checkpoints.store import load, save
from fourm_runtime.released.config import parse_value, read_config
from fourm_runtime.released.exporting import export_4m
from fourm_runtime.released.importing import import_4m
from fourm_schema.errors import CheckpointError
from tests.runtime.small_release import (
    SHAPE,
    Tensors,
    contents,
    rewritten,
    small_checkpoint,
    small_release,
)

Metadata = dict[str, str]


def same_weights(found: dict[str, torch.Tensor], truth: dict[str, torch.Tensor]) -> bool:
    return found.keys() == truth.keys() and all(torch.equal(found[name], truth[name]) for name in truth)


def test_a_model_survives_being_released_and_imported(tmp_path: Path) -> None:
    """Every weight, the schema, the plan and the rows, for all kinds of modality."""
    origin = small_checkpoint()
    found = import_4m(small_release(tmp_path))

    assert (found.schema, found.plan, found.allocation) == (origin.schema, origin.plan, origin.allocation)
    assert found.architecture == SHAPE
    assert [stream.name for stream in found.plan.streams] == [
        "caption.tokens",
        "rgb.pixels",
        "t5_caption.values",
        "tok_depth.tokens",
        "tok_dinov2_global.tokens",
    ]
    one_sided = {"tables.encoder.tokens", "tables.encoder.learned_positions", "tables.head"}
    assert same_weights(
        {name: tensor for name, tensor in found.weights.items() if name not in one_sided},
        {name: tensor for name, tensor in origin.weights.items() if name not in one_sided},
    )


def test_an_imported_model_is_a_checkpoint_like_any_other(tmp_path: Path) -> None:
    """Saved, loaded and exported again it is the file it came from, configuration included."""
    path = small_release(tmp_path)
    save(tmp_path / "model", import_4m(path))
    again = load(tmp_path / "model")
    export_4m(again, tmp_path / "again.safetensors")

    tensors, metadata = contents(path)
    found, told = contents(tmp_path / "again.safetensors")
    assert told == metadata
    assert same_weights(found, tensors)


def test_a_stream_goes_by_its_4m_name(tmp_path: Path) -> None:
    found = import_4m(small_release(tmp_path))

    assert found.plan.stream("tok_depth@224").name == "tok_depth.tokens"
    assert found.schema.modality("rgb@224").kind == "image"


def test_a_folder_with_config_json_is_a_released_model_too(tmp_path: Path) -> None:
    """The hub's layout; a newer library wraps the configuration. Either comes back as it was."""
    tensors, metadata = contents(small_release(tmp_path))
    config = {key: parse_value(value) for key, value in metadata.items()}
    for name, written in (("plain", config), ("wrapped", {"config": config})):
        folder = tmp_path / name
        folder.mkdir()
        rewritten(folder / "model.safetensors", tensors, {"format": "pt"})
        (folder / "config.json").write_text(json.dumps(written))
        found = import_4m(folder)
        assert same_weights(dict(found.weights), dict(import_4m(small_release(tmp_path)).weights))
        export_4m(found, tmp_path / f"{name}-out")
        assert json.loads((tmp_path / f"{name}-out" / "config.json").read_text()) == written
        assert contents(tmp_path / f"{name}-out" / "model.safetensors")[1] == {"format": "pt"}
        # As one file, the configuration goes into its header.
        export_4m(found, tmp_path / f"{name}.safetensors")
        assert contents(tmp_path / f"{name}.safetensors")[1] == {**metadata, "format": "pt"}


def _one_copy(side: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {
        name: tensor
        for name, tensor in tensors.items()
        if not (name.endswith(".mod_emb") and name.startswith(side) and _twin(name) in tensors)
    }


def _twin(name: str) -> str:
    return name.replace("encoder_", "decoder_") if name.startswith("encoder") else name.replace("de", "en", 1)


def _without(*endings: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {name: tensor for name, tensor in tensors.items() if not name.endswith(endings)}


@pytest.mark.parametrize(
    "drop",
    [
        _one_copy("encoder"),
        _one_copy("decoder"),
        _without("norm1.bias", "norm2.bias", "_norm.bias"),
        _without("caption.pos_emb"),
    ],
)
def test_a_file_may_lack_what_its_other_tensors_tell(
    drop: Callable[[Tensors], Tensors], tmp_path: Path
) -> None:
    """One copy of a shared tensor, no buffers of zeros, no tables of sines: the same model."""
    path = small_release(tmp_path)
    tensors, metadata = contents(path)
    truth = import_4m(path)
    fewer = drop(tensors)
    assert len(fewer) < len(tensors)

    found = import_4m(rewritten(path, fewer, metadata))

    assert same_weights(dict(found.weights), dict(truth.weights))
    export_4m(found, tmp_path / "whole.safetensors")
    assert same_weights(contents(tmp_path / "whole.safetensors")[0], tensors)


def test_a_file_without_heads_has_them_tied(tmp_path: Path) -> None:
    """The head of a tied model is its decoder's table, and is written out as one."""
    path = small_release(tmp_path)
    tensors, metadata = contents(path)
    fewer = {name: tensor for name, tensor in tensors.items() if "to_logits" not in name}
    found = import_4m(rewritten(path, fewer, metadata))
    export_4m(found, path)
    whole, _ = contents(path)

    assert found.architecture == attrs.evolve(SHAPE, tie_head=True)
    assert same_weights({name: whole[name] for name in fewer}, fewer)
    name = "decoder_embeddings.caption"
    assert torch.equal(whole[f"{name}.to_logits.weight"], whole[f"{name}.token_emb.weight"])


def test_numbers_of_sixteen_bits_come_back_as_such(tmp_path: Path) -> None:
    path = small_release(tmp_path)
    tensors, metadata = contents(path)
    halves = {n: t if n.endswith("pos_emb") else t.half() for n, t in tensors.items()}
    export_4m(import_4m(rewritten(path, halves, metadata)), tmp_path / "again.safetensors")
    found, _ = contents(tmp_path / "again.safetensors")

    assert {name: t.dtype for name, t in found.items()} == {name: t.dtype for name, t in halves.items()}
    assert same_weights(found, halves)


def test_keys_that_change_no_number_are_passed_by_and_kept(tmp_path: Path) -> None:
    path = small_release(tmp_path)
    tensors, metadata = contents(path)
    more = {**metadata, "format": "pt", "use_act_checkpoint": "True", "drop_path_rate_encoder": "0.1"}
    found = import_4m(rewritten(path, tensors, more))
    export_4m(found, path)

    assert contents(path)[1] == more


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("4.0", 4.0),
        ("None", None),
        ("null", None),
        ("false", False),
        ("['a', 'b']", ["a", "b"]),
        ("SiLU", "SiLU"),
        ("__import__('os').getcwd()", "__import__('os').getcwd()"),
        ("[1, [2]]", "[1, [2]]"),
        ("(" * 5000, "(" * 5000),
        ("-" * 50_000 + "1", "-" * 50_000 + "1"),
        ("9" * 5000, "9" * 5000),
        ("\x00", "\x00"),
    ],
)
def test_metadata_is_read_as_literals_and_nothing_in_it_runs(text: str, value: object) -> None:
    assert parse_value(text) == value


GOOD = {
    "domains_in": ["caption", "rgb@224"],
    "domains_out": ["caption"],
    "dim": 16,
    "encoder_depth": 1,
    "decoder_depth": 1,
    "num_heads": 2,
    "act_layer": "SiLU",
}


def test_every_fault_of_a_configuration_is_told_at_once() -> None:
    """Unknown modalities with the one that was probably meant; numbers and switches that are none."""
    wrong = {
        **GOOD,
        "domains_in": ["captoin", "tok_depth@22x4", "rgb@224", "rgb@224"],
        "dim": "wide",
        "qkv_bias": "perhaps",
        "mlp_ratio": -1,
        "act_layer": "Tanh",
    }
    del wrong["num_heads"]

    with pytest.raises(CheckpointError) as error:
        read_config(wrong, "here")

    told = str(error.value)
    assert "its configuration has 8 faults" in told
    for line in (
        "num_heads: is missing",
        "domains_in: 'captoin' is no modality of 4M; did you mean 'caption'?",
        "domains_in: 'tok_depth@22x4' is no modality of 4M; did you mean 'tok_depth'?",
        "domains_in: names 'rgb@224' twice",
        "dim: must be a whole number from 1 to 65536; got 'wide'",
        "qkv_bias: must be True or False; got 'perhaps'",
        "mlp_ratio: must be a positive number; got -1",
        "act_layer: must be one of SiLU, GELU; got 'Tanh'",
    ):
        assert line in told


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"dim": 18}, r"dim must be a multiple of heads and of 4; got dim 18, heads 2"),
        ({"num_heads": 0}, r"num_heads: must be a whole number from 1 to 1024; got '0'"),
        ({"encoder_depth": 10**9}, r"encoder_depth: must be a whole number from 1 to 1024"),
        ({"domains_in": "caption"}, r"domains_in: must be a list of modalities; got 'caption'"),
        ({"domains_out": ["rgb@224"]}, r"domains_out: 'rgb@224' is shown only and cannot be predicted"),
        ({"domains_in": [], "domains_out": []}, r"domains_in: is empty"),
    ],
)
def test_a_configuration_that_is_no_model_is_refused(changed: dict[str, object], message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_config({**GOOD, **changed}, "here")


def test_every_tensor_that_disagrees_is_named_with_both_shapes(tmp_path: Path) -> None:
    """Missing, unknown, of another shape or type: one error, before a number is read."""
    path = small_release(tmp_path)
    tensors, metadata = contents(path)
    del tensors["encoder_norm.weight"]
    tensors["encoder_embeddings.caption.token_emb.weight"] = torch.zeros(250, 16)
    tensors["decoder.0.self_attn.qkv.weight"] = torch.zeros(48, 8)
    tensors["lora.weight"] = torch.zeros(2)
    tensors["mask_token"] = torch.zeros(1, 1, 16, dtype=torch.int64)
    with pytest.raises(CheckpointError) as error:
        import_4m(rewritten(path, tensors, metadata))

    told = str(error.value)
    assert "6 tensors are not what its configuration asks for" in told
    for line in (
        "encoder_norm.weight: expected (16,), found nothing",
        "decoder.0.self_attn.qkv.weight: expected (48, 16), found (48, 8)",
        "decoder_embeddings.caption.token_emb.weight: expected (250, 16), found (260, 16)",
        "decoder_embeddings.caption.to_logits.weight: expected (250, 16), found (260, 16)",
        "lora.weight: expected nothing, found (2,)",
        "mask_token: expected one of F32, F16, BF16, found I64",
    ):
        assert line in told


def test_copies_that_differ_and_biases_that_are_not_zero_are_refused(tmp_path: Path) -> None:
    """Which of two numbers would the released code have taken? It is not guessed."""
    path = small_release(tmp_path)
    tensors, metadata = contents(path)
    tensors["decoder_embeddings.caption.mod_emb"] += 1
    tensors["decoder_embeddings.caption.pos_emb"][0, 3] += 1
    tensors["encoder.0.norm1.bias"] += 1
    with pytest.raises(CheckpointError) as error:
        import_4m(rewritten(path, tensors, metadata))

    told = str(error.value)
    assert "decoder_embeddings.caption.mod_emb: must hold the numbers of encoder_embeddings" in told
    assert (
        "decoder_embeddings.caption.pos_emb: must hold the numbers of encoder_embeddings.caption.pos" in told
    )
    assert "encoder.0.norm1.bias: must be zeros where norm_bias is False" in told


def _truncated(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[:-100])
    return path


def _pickled(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02.")
    return path


def _bare(path: Path) -> Path:
    return rewritten(path, contents(path)[0], {"format": "pt"})


def _emptied(path: Path) -> Path:
    path.unlink()
    return path.parent


def _gone(path: Path) -> Path:
    path.unlink()
    return path


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_truncated, r"is damaged or truncated; got \d+ bytes of something else"),
        (_pickled, r"a pickle, which is never read here since unpickling runs code"),
        (
            _bare,
            r"has no configuration of a 4M model; got keys format; give model\.safetensors with the conf",
        ),
        (_emptied, r"holds no model\.safetensors; got an empty folder"),
        (_gone, r"does not exist; give a safetensors file, or its folder"),
    ],
)
def test_what_is_no_released_file_is_refused_by_name(
    spoil: Callable[[Path], Path], message: str, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=message):
        import_4m(spoil(small_release(tmp_path)))


def test_positions_that_make_no_square_are_refused(tmp_path: Path) -> None:
    path = small_release(tmp_path)
    tensors, metadata = contents(path)
    for side in ("encoder", "decoder"):
        tensors[f"{side}_embeddings.tok_depth@224.pos_emb"] = torch.zeros(1, 15, 16)
    with pytest.raises(CheckpointError, match=r"tok_depth@224 has 15 positions, which make no square"):
        import_4m(rewritten(path, tensors, metadata))


def test_a_model_with_other_modalities_cannot_be_released(tmp_path: Path) -> None:
    """4M has no name for them; each is told."""
    origin = small_checkpoint()
    unnamed = [
        attrs.evolve(stream, aliases=(), modality="depth") if stream.name == "tok_depth.tokens" else stream
        for stream in origin.plan.streams
    ]
    plan = attrs.evolve(origin.plan, streams=tuple(unnamed))
    with pytest.raises(CheckpointError, match=r"tok_depth\.tokens: has no 4M name"):
        export_4m(attrs.evolve(origin, plan=plan), tmp_path / "x.safetensors")


def test_what_the_decoder_sees_is_read_from_the_configuration() -> None:
    """Both of 4M's masks have their switch, and go out as they came in."""
    shape = read_config({**GOOD, "decoder_causal_mask": True, "decoder_sep_mask": False}, "here").architecture

    assert shape.decoder_left_to_right and not shape.decoder_streams_apart
