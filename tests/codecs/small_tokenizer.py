"""Small files like those of 4M's released tokenizers, with weights that were drawn."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from fourm_codecs.tokenizers_4m.blocks import position_table
from fourm_codecs.tokenizers_4m.design import read_design
from fourm_codecs.tokenizers_4m.tokenizer import Tokenizer

Config = Mapping[str, object]
Tensors = dict[str, NDArray[np.generic]]

HEADS = 2
DIM = 8

IMAGES: Config = {
    "enc_type": "vit_xxs_enc",
    "dec_type": "vit_xxs_dec",
    "image_size": 16,
    "patch_size": 4,
    "n_channels": 1,
    "codebook_size": 40,
    "latent_dim": 4,
}
"""An image of one channel, 4 x 4 tokens."""

VECTORS: Config = {
    "enc_type": "BottleneckMLP/B_1-Wi_8",
    "dec_type": "BottleneckMLP/B_1-Wi_8",
    "quant_type": "memcodes",
    "n_channels": 6,
    "codebook_size": 30,
    "num_codebooks": 16,
    "latent_dim": 32,
}
"""A vector of six numbers, 16 tokens."""

CLASS_MAPS: Config = {**IMAGES, "n_labels": 5, "n_channels": 3}
FEATURE_MAPS: Config = {**IMAGES, "n_channels": 3, "patch_proj": False, "post_mlp": True}
MASKS: Config = {**IMAGES, "out_conv": True}
DIFFUSION: Config = {**IMAGES, "dec_type": "unet_xxs", "beta_schedule": "linear", "scheduler": "ddim"}


def tensors_of(config: Config, seed: int = 0) -> Tensors:
    """Drawn tensors of the names and shapes that a configuration asks for."""
    sizes = {f"{side}.pos_emb": (1, DIM, *_grid(config)) for side in ("encoder", "decoder")}
    blocks = {f"{side}.blocks.0.norm1.weight": (DIM,) for side in ("encoder", "decoder")}
    heads = HEADS if str(config["enc_type"]).startswith("vit") else 0
    network = Tokenizer(read_design(config, {**sizes, **blocks}, "a small tokenizer", heads))
    generator = np.random.default_rng(seed)
    found: Tensors = {}
    for name, tensor in network.state_dict().items():
        found[name] = generator.normal(0, 0.5, tuple(tensor.shape)).astype(np.float32)
        if name.endswith(".pos_emb"):
            found[name] = position_table((tensor.shape[2], tensor.shape[3]), tensor.shape[1]).numpy()
    if "beta_schedule" in config:
        found["decoder.out.0.weight"] = np.ones(3, np.float32)
    return found


def write(path: Path, config: Config, tensors: Mapping[str, NDArray[np.generic]] | None = None) -> Path:
    """A file of the configuration, its values as text in the header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    found = tensors_of(config) if tensors is None else dict(tensors)
    save_file(found, path, metadata={key: str(value) for key, value in config.items()})
    return path


def _grid(config: Config) -> tuple[int, int]:
    side = int(str(config.get("image_size", 16))) // int(str(config.get("patch_size", 4)))
    return side, side
