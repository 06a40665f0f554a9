"""A small released file with random numbers, and what can be done to it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers

from fourm_runtime.assemble import empty_model, stored_tensors
from fourm_runtime.checkpoints.store import Checkpoint
from fourm_runtime.released.exporting import export_4m
from fourm_runtime.released.modalities import Found
from fourm_runtime.released.positions import released_positions
from fourm_runtime.released.schema import schema_of
from fourm_schema.allocation import allocate, position_key
from fourm_schema.architecture import Architecture
from fourm_schema.resolve import resolve

WORDS = 260
SHAPE = Architecture(
    dim=16,
    heads=2,
    encoder_depth=1,
    decoder_depth=1,
    tie_head=False,
    stored_positions=True,
    registers=2,
    null_is_silent=True,
)
FOUND = (
    Found("caption", "both", WORDS, 512, 0),
    Found("rgb@224", "input", 0, 16, 56 * 56 * 3),
    Found("t5_caption", "input", 0, 512, 24),
    Found("tok_depth@224", "both", 40, 16, 0),
    Found("tok_dinov2_global", "target", 30, 16, 0),
)

Tensors = dict[str, torch.Tensor]


def small_checkpoint(
    seed: int = 0, shape: Architecture = SHAPE, found: Sequence[Found] = FOUND
) -> Checkpoint:
    """A model of five modalities, all kinds among them, or of those that are asked for."""
    schema = schema_of(tuple(found), 200, "ids", "here")
    plan = resolve(schema)
    allocation = allocate(plan)
    weights = {
        name: tensor.detach() for name, tensor in stored_tensors(empty_model(plan, allocation, shape)).items()
    }
    generator = torch.Generator().manual_seed(seed)
    for stream in plan.streams:
        if stream.positions != "learned-1d":
            rows = allocation.fixed_positions[position_key(stream)]
            table = released_positions(rows.size, shape.dim, on_grid=stream.positions == "sincos-2d")
            weights["tables.fixed_positions"][rows.start : rows.stop] = table
    for name, tensor in weights.items():
        if name != "tables.fixed_positions":
            # Sixteen bits hold them exactly.
            tensor.copy_(torch.randn(tensor.shape, generator=generator).half())
    for name in ("tables.encoder.tokens", "tables.decoder.tokens", "tables.head", "tables.encoder_streams"):
        if name in weights:
            weights[name][0] = 0
    return Checkpoint(schema, plan, allocation, shape, weights)


def small_release(folder: Path, shape: Architecture = SHAPE, found: Sequence[Found] = FOUND) -> Path:
    """Its file, as the released code would write it."""
    path = folder / "model.safetensors"
    export_4m(small_checkpoint(shape=shape, found=found), path)
    return path


def contents(path: Path) -> tuple[Tensors, dict[str, str]]:
    """Tensors and header of a file."""
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118


def rewritten(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> Path:
    """The same file with other contents."""
    save_file({name: tensor.clone() for name, tensor in tensors.items()}, path, metadata=dict(metadata))
    return path


def tokenizer_file(folder: Path, words: int = WORDS, sentinels: int = 200) -> Path:
    """A tokenizer with 4M's special tokens, a few coordinates, and word pieces."""
    named = ["[PAD]", "[UNK]", "[SOS]", "[EOS]", *(f"[S_{k}]" for k in range(sentinels))]
    coordinates = [f"v0={k}" for k in range(10)]
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    pieces = [*letters, "dog", "cat", *(f"##{letter}" for letter in letters)]
    listed = [*named, *coordinates, *pieces][:words]
    listed += [f"spare{k}" for k in range(words - len(listed))]
    tokenizer = Tokenizer(models.WordPiece({token: k for k, token in enumerate(listed)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([token for token in (*named, *coordinates) if token in listed])
    path = folder / "tokenizer.json"
    tokenizer.save(str(path))
    return path
