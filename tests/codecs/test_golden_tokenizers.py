"""Released tokenizers give the ids, and the decoded numbers, that they give in the released code.

Ids are compared wherever the recording says that the best code leads the second by more than rounding;
decoded numbers within 1e-5 of the largest of their recording. Every tokenizer comes in by its file, as a
user's does.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from fourm_codecs.base import Array, TokenBatch
from fourm_codecs.store import codec_hash, load_codec, save_codec
from fourm_codecs.tokenizers_4m.blocks import position_table
from fourm_codecs.tokenizers_4m.codec import TokenizerOf4M
from fourm_codecs.tokenizers_4m.design import Mlp, Vit
from fourm_runtime.released.file import open_released
from fourm_runtime.released.tokenizers import import_tokenizer
from fourm_schema.errors import CodecError

DECODED = 1e-5
LATENTS = 1e-5
MARGIN = 1e-5
SIZES = ("", "_larger", "_rect")
HEADS = 4
"""Attention heads of the recorded transformers, which are smaller than any released one."""

MEAN = np.array([0.485, 0.456, 0.406], np.float32)[:, None, None]
STD = np.array([0.229, 0.224, 0.225], np.float32)[:, None, None]


@attrs.frozen(eq=False)
class Recorded:
    """A recorded tokenizer, here."""

    name: str
    codec: TokenizerOf4M
    numbers: Mapping[str, NDArray[Any]]

    @property
    def undo_std(self) -> bool:
        return self.codec.design.config.get("undo_std") is True

    def inputs(self, size: str) -> NDArray[np.float32]:
        """What its encoder takes: images brought to [-1, 1], also where they were recorded standardised."""
        given = self.numbers[f"in{size}"]
        return 2 * (given * STD + MEAN) - 1 if self.undo_std else given

    def lawful(self, size: str) -> NDArray[np.float32]:
        """The part of these that values can have: images were recorded with noise beyond every colour."""
        given = self.inputs(size)
        return given.clip(-1, 1) if self.codec.scale == "range" else given

    def values(self, size: str) -> list[Array]:
        """The same in the units of the entry."""
        given = self.lawful(size).astype(np.float64)
        if self.codec.design.labels:
            return list(given.astype(np.int64))
        if isinstance(self.codec.design.encoder, Mlp):
            return list(given[:, :, 0, 0])
        if self.codec.scale == "range":
            given = (given + 1) / 2 * 255
        last = given.transpose(0, 2, 3, 1)
        return list(last[..., 0] if last.shape[-1] == 1 else last)

    def sized(self, size: str) -> TokenizerOf4M:
        """The codec for images of another size."""
        rows, columns = self.numbers[f"in{size}"].shape[-2:]
        entry = self.codec.entry.model_copy(update={"size": (rows, columns)})
        return attrs.evolve(self.codec, entry=entry) if entry.kind == "image" else self.codec


def subject_of(config: Mapping[str, object]) -> str:
    """Which of 4M's tokenizers a recorded one is like."""
    if config.get("n_labels"):
        return "tok_semseg"
    if str(config["enc_type"]).startswith("BottleneckMLP"):
        return "human_pose" if config["n_channels"] == 207 else "tok_dinov2_global"
    if config.get("patch_proj") is False:
        return "tok_clip"
    return "sam_mask" if config.get("out_conv") else "tok_rgb"


def read(path: Path) -> TokenizerOf4M:
    config = open_released(path).config
    heads = HEADS if str(config["enc_type"]).startswith("vit") else 0
    return import_tokenizer(path, subject_of(config), heads=heads)


@pytest.fixture(scope="module")
def recorded(golden: Path) -> list[Recorded]:
    files = [file for kind in ("vqvae", "divae") for file in sorted(golden.glob(f"{kind}_*.io.safetensors"))]
    found = []
    for file in files:
        path = file.with_name(file.name.replace(".io", ""))
        found.append(Recorded(path.stem, read(path), load_file(file)))
    assert found, "the folder holds recorded tokenizers"
    return found


def cases(recorded: list[Recorded]) -> Iterator[tuple[Recorded, str]]:
    """Every tokenizer with every size of its inputs."""
    return ((each, size) for each in recorded for size in SIZES if f"in{size}" in each.numbers)


def ids_of(each: Recorded, inputs: NDArray[np.float32]) -> Array:
    """Ids as the network has them, one sample at a time."""
    network = each.codec.loaded.network
    with torch.inference_mode():
        return torch.cat([network.encode(one[None]) for one in torch.from_numpy(inputs)]).numpy()


def differing(each: Recorded, size: str, ids: Array) -> int:
    """Ids that are not those recorded, where the recording is sure of them."""
    wanted = each.numbers[f"tokens{size}"]
    margin = each.numbers.get(f"argmax_margin{size}", np.full(wanted.size, np.inf))
    sure = margin.reshape(wanted.shape) >= MARGIN
    return int(((ids.reshape(wanted.shape) != wanted) & sure).sum())


def test_golden_tokenizers_give_the_ids_of_the_released_code(
    recorded: list[Recorded], record_property: Callable[[str, object], None]
) -> None:
    """Images, class maps, feature maps, masks, poses and global features, at every recorded size."""
    unsure = 0
    for each, size in cases(recorded):
        assert differing(each, size, ids_of(each, each.inputs(size))) == 0, (each.name, size)
        unsure += int((each.numbers.get(f"argmax_margin{size}", np.ones(1)) < MARGIN).sum())
    record_property("ids within rounding of another", unsure)


def test_golden_latents_are_those_of_the_released_code(recorded: list[Recorded]) -> None:
    """Ids could agree by luck where codes are few; what they were chosen by cannot."""
    for each, size in cases(recorded):
        with torch.inference_mode():
            latents = each.codec.loaded.network.latents(torch.from_numpy(each.inputs(size))).numpy()
        wanted = each.numbers[f"pre_quant{size}"]
        assert np.abs(latents - wanted).max() <= LATENTS * np.abs(wanted).max(), (each.name, size)


def test_golden_codes_are_the_rows_as_they_are_stored(recorded: list[Recorded]) -> None:
    """Codes are brought to length 1 to be compared, and not to be decoded."""
    for each in recorded:
        ids = torch.from_numpy(each.numbers["tokens"])
        codes = each.codec.loaded.network.quantize.codes_of(ids).numpy()
        assert np.allclose(codes, each.numbers["quant_from_tokens"], rtol=1e-6, atol=1e-6), each.name


def test_golden_ids_decode_to_the_numbers_of_the_released_code(
    recorded: list[Recorded], record_property: Callable[[str, object], None]
) -> None:
    worst = 0.0
    for each, size in cases(recorded):
        if not each.codec.can_decode:
            continue
        with torch.inference_mode():
            ids = torch.from_numpy(each.numbers[f"tokens{size}"])
            found = torch.cat([each.codec.loaded.network.decode(one[None]) for one in ids]).numpy()
        for key in ("decoded_tokens", "decoded_quant"):
            wanted = each.numbers.get(f"{key}{size}", each.numbers[f"decoded_quant{size}"])
            error = float(np.abs(found - wanted).max() / np.abs(wanted).max())
            assert error <= DECODED, (each.name, key, size)
            worst = max(worst, error)
    record_property("worst error of a decoded number", worst)


def test_golden_values_in_natural_units_become_the_numbers_of_the_network(recorded: list[Recorded]) -> None:
    """0..255, class numbers, features, 0/1 and rotations, up to the rounding of a float32; and so the ids."""
    for each, size in cases(recorded):
        codec, wanted = each.sized(size), each.lawful(size)
        numbers = codec.units.numbers(each.values(size))
        assert numbers.dtype == wanted.dtype
        assert np.abs(numbers - wanted).max() <= 2e-7 * max(1, np.abs(wanted).max()), (each.name, size)
        if np.array_equal(wanted, each.inputs(size)):
            assert differing(each, size, codec.encode(each.values(size)).ids) == 0, (each.name, size)


def test_golden_ids_become_values_in_natural_units(recorded: list[Recorded]) -> None:
    """Images within 0..255, masks within 0..1, of class maps the likeliest class, anything else as it is."""
    for each, size in cases(recorded):
        codec = each.sized(size)
        if not codec.can_decode:
            continue
        ids = each.numbers[f"tokens{size}"]
        tokens = TokenBatch.of_grid(ids.reshape(len(ids), -1), codec.vocab_size)
        back: NDArray[Any] = np.stack(codec.decode(tokens))
        wanted = each.numbers[f"decoded_quant{size}"].astype(np.float64)
        if codec.design.labels:
            first, second = np.sort(wanted, axis=1)[:, -1], np.sort(wanted, axis=1)[:, -2]
            sure = first - second > DECODED * np.abs(wanted).max()
            assert ((back == wanted.argmax(axis=1)) | ~sure).all(), each.name
            continue
        if codec.scale == "range":
            wanted = ((wanted + 1) / 2 * 255).clip(0, 255)
        elif codec.scale == "mask":
            wanted = 1 / (1 + np.exp(-wanted))
        wanted = wanted.transpose(0, 2, 3, 1).reshape(back.shape)
        assert np.abs(back - wanted).max() <= DECODED * np.abs(wanted).max(), (each.name, size)


def test_golden_ids_do_not_depend_on_the_batch(recorded: list[Recorded]) -> None:
    for each in recorded:
        values = each.values("")
        alone = [each.codec.encode([value]).ids for value in values]
        assert np.array_equal(each.codec.encode(values).ids, np.concatenate(alone)), each.name


def test_golden_position_tables_are_the_formula_of_4m(recorded: list[Recorded]) -> None:
    """So that a file may lack them; a float32 sine differs in its last bit from machine to machine."""
    for each in recorded:
        design, network = each.codec.design, each.codec.loaded.network
        for shape, half in ((design.encoder, network.encoder), (design.decoder, network.decoder)):
            if isinstance(shape, Vit) and half is not None:
                table = position_table(shape.grid, shape.dim)
                assert (table - half.state_dict()["pos_emb"]).abs().max() <= 1e-6, each.name


def test_golden_diffusion_decoders_are_refused_by_name_and_kept(recorded: list[Recorded]) -> None:
    """They give ids; what their decoders need stays in the codec."""
    diffusion = [each for each in recorded if not each.codec.can_decode]
    assert {each.name.partition("_")[0] for each in diffusion} <= {"divae"}
    for each in diffusion:
        tokens = each.codec.encode(each.values(""))
        with pytest.raises(
            CodecError, match=r"decode by diffusion \(DiVAE, dec_type 'u\w+'\), .* cannot run"
        ):
            each.codec.decode(tokens)
        assert any(name.startswith("decoder.") for name in each.codec.parts.tensors)
        assert each.codec.design.config["beta_schedule"]


def test_golden_codecs_are_stored_and_read(recorded: list[Recorded], tmp_path: Path) -> None:
    for each in recorded:
        save_codec(each.codec, tmp_path / each.name)
        again = load_codec(tmp_path / each.name)
        assert codec_hash(again) == codec_hash(each.codec)
        assert again.encode(each.values("")).same(each.codec.encode(each.values("")))
