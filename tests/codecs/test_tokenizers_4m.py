"""What 4M's tokenizers take and refuse; what they compute is held against recordings beside this."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from fourm_codecs.base import TokenBatch
from fourm_codecs.build import build_codec
from fourm_codecs.lawbook.given_values import violations
from fourm_codecs.tokenizers_4m.codec import TokenizerOf4M
from fourm_codecs.tokenizers_4m.design import read_design
from fourm_codecs.tokenizers_4m.measure import measured
from fourm_codecs.tokenizers_4m.units import Scale
from fourm_schema.errors import CodecError, SchemaError
from fourm_schema.load import parse_schema
from fourm_schema.schema import Schema
from tests.codecs.small_tokenizer import (
    CLASS_MAPS,
    DIFFUSION,
    FEATURE_MAPS,
    HEADS,
    IMAGES,
    MASKS,
    VECTORS,
    Config,
    Tensors,
    tensors_of,
)

NUMBERS: dict[str, object] = {"type": "continuous", "range": [0, 10]}


def schema_of(**entry: object) -> Schema:
    """A schema of one modality, `x`."""
    return Schema.model_validate({"version": 1, "modalities": {"x": {"codec": "vq-4m", **entry}}})


def image(cell: Mapping[str, object], size: int = 16, patch: int = 4, **more: object) -> Schema:
    return schema_of(kind="image", size=size, patch=patch, cell=cell, vocab_size=40, **more)


def codec_of(
    config: Config, schema: Schema, scale: Scale = "range", tensors: Tensors | None = None
) -> TokenizerOf4M:
    found = tensors_of(config) if tensors is None else tensors
    heads = HEADS if str(config["enc_type"]).startswith("vit") else 0
    design = read_design(config, {name: tensor.shape for name, tensor in found.items()}, "here", heads)
    return TokenizerOf4M.of_released("x", schema.modalities["x"], design, found, scale)


VECTOR = schema_of(kind="vector", dim=6, vocab_size=30)
CLASSES = image({"type": "categorical", "classes": 5})
FEATURES = image({"type": "features", "channels": 3}, size=4, patch=1)

CASES: list[tuple[Config, Schema, Scale]] = [
    (IMAGES, image(NUMBERS), "range"),
    (IMAGES, image(NUMBERS), "depth"),
    (IMAGES, image({**NUMBERS, "levels": 11}, size=24), "range"),
    ({**IMAGES, "n_channels": 3}, image({"type": "direction"}), "range"),
    (MASKS, image(NUMBERS, size=8), "mask"),
    (CLASS_MAPS, CLASSES, "classes"),
    (FEATURE_MAPS, FEATURES, "raw"),
    (VECTORS, VECTOR, "raw"),
    ({**IMAGES, "norm_codes": False, "norm_latents": True}, image(NUMBERS), "range"),
]


def drawn(codec: TokenizerOf4M, count: int) -> list[Any]:
    """Values of a modality."""
    generator, entry = np.random.default_rng(3), codec.entry
    if entry.kind == "vector":
        return list(generator.normal(size=(count, entry.dim)))
    if entry.cell.type == "categorical":
        return list(generator.integers(0, entry.cell.class_count, (count, *entry.size)))
    found = generator.integers(0, 11, (count, *entry.size, entry.channels)).astype(np.float64)
    if entry.cell.type == "direction":
        found = found - 5.5
        found /= np.linalg.norm(found, axis=-1, keepdims=True)
    return list(found[..., 0] if entry.channels == 1 else found)


@pytest.mark.parametrize(("config", "schema", "scale"), CASES)
def test_any_kind_of_value_keeps_what_every_codec_owes(config: Config, schema: Schema, scale: Scale) -> None:
    """Ids in range, of their shape, the same alone as in a batch; values of the shape that was given."""
    codec = codec_of(config, schema, scale)
    values = drawn(codec, 3)

    assert violations(codec, values) == []
    codec.encode(codec.decode(codec.encode(values)))  # what comes back is a value too
    assert "ids in 3 values" in measured(codec, values)
    assert codec.law.describe().endswith("what it keeps was not measured")


def test_any_ids_decode_to_values_that_the_modality_can_hold() -> None:
    """What a model generates need not be what any value is encoded to."""
    generator = np.random.default_rng(4)
    for config, schema, scale in CASES:
        codec = codec_of(config, schema, scale)
        length = int(np.prod(codec.token_shape))
        tokens = TokenBatch.of_grid(generator.integers(0, codec.vocab_size, (5, length)), codec.vocab_size)
        assert len(codec.encode(codec.decode(tokens))) == 5


def test_depth_is_standardised_as_4m_does_it() -> None:
    """Without the nearest and the farthest tenth; so shifting and stretching a map changes no id."""
    codec = codec_of(IMAGES, image(NUMBERS), "depth")
    depth = np.arange(256.0).reshape(16, 16) / 51
    share = depth / 10
    middle = np.sort(share.reshape(-1))[25:230]

    (numbers,) = codec.units.numbers([depth])

    assert np.allclose(numbers[0], (share - middle.mean()) / np.sqrt(middle.var(ddof=1) + 1e-6), atol=1e-5)


def test_a_file_may_lack_its_position_tables() -> None:
    """They are sines of known numbers."""
    whole = tensors_of(IMAGES)
    lacking = {name: tensor for name, tensor in whole.items() if name != "decoder.pos_emb"}
    values = drawn(codec_of(IMAGES, image(NUMBERS)), 2)
    full, less = (codec_of(IMAGES, image(NUMBERS), tensors=found) for found in (whole, lacking))

    for one, other in zip(full.decode(full.encode(values)), less.decode(less.encode(values)), strict=True):
        assert np.array_equal(one, other)


def test_every_tensor_that_disagrees_is_named_at_once() -> None:
    tensors = tensors_of(IMAGES)
    del tensors["quant_proj.bias"], tensors["encoder.blocks.0.mlp.fc1.weight"]
    tensors["encoder.norm.weight"] = np.ones(8, np.float32)
    tensors["decoder.out_proj.bias"] = np.ones(15, np.float32)
    tensors["post_quant_proj.bias"] = np.full(8, np.nan, np.float32)
    tensors["encoder.proj.bias"] = np.ones(8, np.int64)

    with pytest.raises(CodecError) as caught:
        codec_of(IMAGES, image(NUMBERS), tensors=tensors)

    assert str(caught.value).splitlines() == [
        "x: 6 tensors are not what its configuration asks for; ",
        "    decoder.out_proj.bias: expected (16,), found (15,)",
        "    encoder.blocks.0.mlp.fc1.weight: expected (32, 8), found nothing",
        "    encoder.norm.weight: expected nothing, found (8,)",
        "    quant_proj.bias: expected (4,), found nothing",
        "    encoder.proj.bias: expected finite float32 numbers, found int64",
        "    post_quant_proj.bias: expected finite float32 numbers, found NaN or infinity",
    ]


def test_every_fault_of_a_configuration_is_told_at_once() -> None:
    """A misspelled key is silently a default in the released code, which would give other ids."""
    config = {
        **IMAGES,
        "norm_code": True,
        "opt_betas": "[0.9, 0.99]",
        "quant_type": "fsq",
        "codebook_size": 0,
        "undo_std": 3,
        "image_size": 30,
        "dec_type": "mlp",
    }
    with pytest.raises(CodecError) as caught:
        read_design(config, {"encoder.pos_emb": (1, 8, 4, 4)}, "file", heads=3)

    assert str(caught.value).splitlines() == [
        "file: its configuration has 7 faults; ",
        "    norm_code: is no key of a 4M tokenizer, whose code passes it by; 'norm_codes' was meant?",
        "    quant_type: must be one of lucid, memcodes; got fsq",
        "    enc_type: its width, 8, must be divisible by its heads; got 3",
        "    image_size: must be a side, or [height, width], of 1 to 256 whole patches of 4; got 30",
        "    dec_type: must be vit_s_dec, vit_b_dec, vit_l_dec, unet_*, uvit_* or BottleneckMLP/B_N-Wi_N; "
        "got 'mlp'",
        "    undo_std: must be True or False; got 3",
        "    codebook_size: must be a whole number from 1 to 65536; got 0",
    ]


@pytest.mark.parametrize(
    ("config", "heads", "message"),
    [
        (IMAGES, 0, r"enc_type: 'vit_xxs_enc' is none of the released ones: say how many heads"),
        (
            {**IMAGES, "enc_type": "vit_b_enc", "dec_type": "vit_b_dec"},
            4,
            r"heads: enc_type and dec_type say",
        ),
        ({**IMAGES, "num_codebooks": 2}, 2, r"num_codebooks: only memcodes has several codebooks"),
        (
            {**VECTORS, "dec_type": "vit_b_dec"},
            0,
            r"dec_type: must be of the kind of enc_type; got 'vit_b_dec'",
        ),
        (
            {**IMAGES, "image_size": 5000},
            2,
            r"image_size: must be .* of 1 to 256 whole patches of 4; got 5000",
        ),
        ({**VECTORS, "latent_dim": 40}, 0, r"latent_dim: must be divisible by the 16 codebooks; got 40"),
        ({**IMAGES, "image_size": [16, 16, 3]}, 2, r"image_size: .* got \[16, 16, 3\]"),
        (
            {},
            0,
            r"here: has no configuration of a 4M tokenizer; got no metadata; give its model\.safetensors",
        ),
        ({"dim": 3}, 0, r"has no configuration of a 4M tokenizer; got keys dim"),
        ({**IMAGES, "sd_path": "x"}, 2, r"is a VQControlNet, which decodes by Stable Diffusion"),
    ],
)
def test_a_configuration_that_cannot_be_read_says_why(config: Config, heads: int, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        read_design(config, {}, "here", heads)


def test_the_sizes_of_a_released_one_are_those_of_its_name() -> None:
    """So a file that lacks blocks is told which; the recorded tokenizers are of smaller names."""
    config = {"enc_type": "vit_l_enc", "dec_type": "vit_s_dec", "image_size": 448, "patch_size_dec": 32}
    design = read_design(config, {}, "here")

    assert repr(design.encoder) == (
        "Vit(dim=1024, depth=24, heads=16, patch=16, grid=(28, 28), post_mlp=False, out_conv=False)"
    )
    assert repr(design.decoder) == (
        "Vit(dim=512, depth=8, heads=8, patch=32, grid=(14, 14), post_mlp=False, out_conv=False)"
    )
    assert (design.codebook_size, design.latent_dim, design.quantizer) == (16_384, 32, "cosine")


@pytest.mark.parametrize(
    ("config", "schema", "scale", "message"),
    [
        (IMAGES, VECTOR, "raw", r"values: the entry has vectors, the tokenizer images of numbers"),
        (IMAGES, CLASSES, "classes", r"the entry has class maps, the tokenizer images of numbers"),
        (
            IMAGES,
            image(NUMBERS, patch=8),
            "range",
            r"patch: the entry has \(8, 8\), the tokenizer \(4, 4\)",
        ),
        (
            MASKS,
            image({**NUMBERS, "channels": 3}),
            "mask",
            r"channels: the entry has 3, the tokenizer 1",
        ),
        (
            CLASS_MAPS,
            image({"type": "categorical", "classes": 9}),
            "classes",
            r"classes: the entry has 9, .* 5",
        ),
        (
            VECTORS,
            schema_of(kind="vector", dim=5, tokens=8, vocab_size=40),
            "raw",
            r"(?s)dim: .* 5.*tokens: .* 8",
        ),
        (
            VECTORS,
            schema_of(kind="vector", dim=6, vocab_size=40),
            "raw",
            r"vocab_size: the entry has 40, .* 30",
        ),
        (
            IMAGES,
            image(NUMBERS),
            "raw",
            r"scale: must be one of range, depth, mask for images of numbers; got raw",
        ),
        (
            {**IMAGES, "patch_size_dec": 8},
            image(NUMBERS),
            "range",
            r"patch_size_dec: images come back in patches",
        ),
    ],
)
def test_an_entry_of_other_values_is_refused(
    config: Config, schema: Schema, scale: Scale, message: str
) -> None:
    with pytest.raises(CodecError, match=message):
        codec_of(config, schema, scale)


def test_a_diffusion_decoder_is_refused_by_name() -> None:
    codec = codec_of(DIFFUSION, image(NUMBERS))
    values = drawn(codec, 2)

    with pytest.raises(
        CodecError,
        match=r"x: its ids decode by diffusion \(DiVAE, dec_type 'unet_xxs'\), .*as an input it serves",
    ):
        codec.decode(codec.encode(values))
    assert measured(codec, values).endswith("which this version cannot run")
    assert "decoder.out.0.weight" in codec.parts.tensors


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((8, 8)), r"x, value 0: a value has shape 16x16; got 8x8; resize it"),
        (np.full((16, 16), 11.0), r"x, value 0 at \[0, 0\]: lies in \[0, 10\]; got 11; rescale it"),
        (np.full((16, 16), np.nan), r"NaN stands for no value"),
        ("a dog", r"x, value 0: a value is numbers of shape 16x16"),
    ],
)
def test_values_that_are_none_are_refused(value: object, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        codec_of(IMAGES, image(NUMBERS)).encode([value])


def test_a_schema_asks_for_it_by_name_and_says_how_many_ids_there_are() -> None:
    """It is chosen for nothing, and a schema alone does not build it."""
    with pytest.raises(
        CodecError, match=r"x: its codec 'vq-4m' is not imported yet; import it: fourm import 4m-"
    ):
        build_codec(image(NUMBERS), "x")
    with pytest.raises(SchemaError, match=r"vocab_size: must say how many token ids 'vq-4m' has"):
        parse_schema("version: 1\nmodalities: {x: {kind: vector, dim: 3, codec: vq-4m}}")
    with pytest.raises(SchemaError, match=r"codec: cannot be 'vq-4m' for a set"):
        parse_schema(
            "version: 1\nmodalities: {x: {kind: set, max_items: 1, codec: vq-4m, fields: {f: {type: box}}}}"
        )
