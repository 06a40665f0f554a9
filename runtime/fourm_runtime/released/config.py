"""The configuration of a released 4M model: read as plain values, never evaluated."""

import ast
from collections.abc import Mapping
from typing import Literal, cast

import attrs

from fourm_runtime.checkpoints.files import listed
from fourm_runtime.released.modalities import MODALITIES, base_name, is_known, nearest_known
from fourm_schema.architecture import Architecture
from fourm_schema.errors import CheckpointError, FourmError

_ACTIVATIONS: dict[str, Literal["silu", "gelu"]] = {"SiLU": "silu", "GELU": "gelu"}
_REQUIRED = ("domains_in", "domains_out", "dim", "encoder_depth", "decoder_depth", "num_heads", "act_layer")
_COUNTS = {
    "dim": (1, 2**16),
    "encoder_depth": (1, 1024),
    "decoder_depth": (1, 1024),
    "num_heads": (1, 1024),
    "num_register_tokens": (0, 2**16),
}
"""The least and the most of each; of those that may be left out, the least is also what they then are."""

_SWITCHES = {
    # Those of the released code where a key is left out.
    "qkv_bias": True,
    "proj_bias": True,
    "mlp_bias": True,
    "norm_bias": True,
    "gated_mlp": False,
    "qk_norm": False,
    "decoder_causal_mask": False,
    "decoder_sep_mask": True,
    "share_modality_embeddings": True,
}
_LONGEST = 100_000
"""Characters of a value; longer ones are text."""

Plain = object


@attrs.frozen
class Config4M:
    """What a released configuration says.

    Attributes:
        domains_in, domains_out: modalities of the encoder and of the decoder, in their order.
        architecture: shape of the network; its head is untied.
    """

    domains_in: tuple[str, ...]
    domains_out: tuple[str, ...]
    architecture: Architecture

    @property
    def domains(self) -> tuple[str, ...]:
        """Every modality once, those of the encoder first."""
        return tuple(dict.fromkeys((*self.domains_in, *self.domains_out)))


def parse_value(text: str) -> Plain:
    """Read what Python's `str()` wrote of a number, a switch, None, a text or a list of these.

    Only literals are read. What is none stays text, whatever it says.

    >>> parse_value("['caption', 'det']"), parse_value("4"), parse_value("True"), parse_value("SiLU")
    (['caption', 'det'], 4, True, 'SiLU')
    """
    words: dict[str, Plain] = {"true": True, "false": False, "null": None}
    if text in words or len(text) > _LONGEST:
        return words.get(text, text)
    try:
        value: Plain = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text
    items = value if isinstance(value, list | tuple) else [value]
    plain = all(item is None or isinstance(item, str | int | float) for item in items)
    return value if plain else text


def read_config(values: Mapping[str, Plain], where: str) -> Config4M:
    """Understand a configuration.

    Args:
        values: its keys; those that change no number (`use_act_checkpoint`, `format`, ...) are passed by.
        where: the file, for errors.

    Raises:
        CheckpointError: if it is none of a 4M model, or asks for what this network does not do; every fault
            is named.
    """
    absent = [key for key in _REQUIRED if key not in values]
    if len(absent) == len(_REQUIRED):
        raise CheckpointError(
            where,
            "has no configuration of a 4M model",
            got=f"keys {', '.join(sorted(values)[:8])}" if values else "no metadata",
            mend="give model.safetensors with the configuration in its header, or with config.json beside it",
        )
    faults = [f"{key}: is missing" for key in absent]
    domains = {key: _domains(values.get(key, []), key, faults) for key in ("domains_in", "domains_out")}
    counts = {
        key: _count(values.get(key, least), key, least, most, faults)
        for key, (least, most) in _COUNTS.items()
    }
    switches = {key: _switch(values.get(key, usual), key, faults) for key, usual in _SWITCHES.items()}
    faults += [f"{key}: is empty" for key, names in domains.items() if key in values and values[key] == []]
    faults += [
        f"domains_out: {name!r} is shown only and cannot be predicted"
        for name in domains["domains_out"]
        if is_known(name) and not MODALITIES[base_name(name)].vocab_size
    ]
    ratio = values.get("mlp_ratio", 4.0)
    if isinstance(ratio, bool) or not isinstance(ratio, int | float) or not 0 < ratio < 1_000:
        faults.append(f"mlp_ratio: must be a positive number; got {ratio!r}")
    activation = values.get("act_layer")
    if activation not in _ACTIVATIONS and "act_layer" in values:
        faults.append(f"act_layer: must be one of {', '.join(_ACTIVATIONS)}; got {activation!r}")
    if not faults:
        try:
            shape = Architecture(
                dim=counts["dim"],
                heads=counts["num_heads"],
                encoder_depth=counts["encoder_depth"],
                decoder_depth=counts["decoder_depth"],
                mlp_ratio=float(cast(float, ratio)),
                activation=_ACTIVATIONS[cast(str, activation)],
                gated_mlp=switches["gated_mlp"],
                qkv_bias=switches["qkv_bias"],
                proj_bias=switches["proj_bias"],
                mlp_bias=switches["mlp_bias"],
                norm_bias=switches["norm_bias"],
                qk_norm=switches["qk_norm"],
                registers=counts["num_register_tokens"],
                tie_head=False,
                share_stream_embedding=switches["share_modality_embeddings"],
                decoder_streams_apart=switches["decoder_sep_mask"],
                decoder_left_to_right=switches["decoder_causal_mask"],
                stored_positions=True,
                null_is_silent=True,
            )
            return Config4M(domains["domains_in"], domains["domains_out"], shape)
        except FourmError as error:
            faults.append(str(error))
    count = "1 fault" if len(faults) == 1 else f"{len(faults)} faults"
    raise CheckpointError(where, f"its configuration has {count}", mend=listed("the model as it is", faults))


def write_config(config: Config4M) -> dict[str, Plain]:
    """The keys and values of a configuration, as the released code takes them."""
    shape = config.architecture
    names = {value: key for key, value in _ACTIVATIONS.items()}
    ratio = int(shape.mlp_ratio) if shape.mlp_ratio == int(shape.mlp_ratio) else shape.mlp_ratio
    return {
        "domains_in": list(config.domains_in),
        "domains_out": list(config.domains_out),
        "image_size": 224,
        "patch_size": 16,
        "norm_bias": shape.norm_bias,
        "act_layer": names[shape.activation],
        "dim": shape.dim,
        "encoder_depth": shape.encoder_depth,
        "decoder_depth": shape.decoder_depth,
        "num_heads": shape.heads,
        "mlp_ratio": ratio,
        "qkv_bias": shape.qkv_bias,
        "proj_bias": shape.proj_bias,
        "mlp_bias": shape.mlp_bias,
        "gated_mlp": shape.gated_mlp,
        "qk_norm": shape.qk_norm,
        "num_register_tokens": shape.registers,
        "decoder_causal_mask": shape.decoder_left_to_right,
        "decoder_sep_mask": shape.decoder_streams_apart,
        "share_modality_embeddings": shape.share_stream_embedding,
    }


def _domains(value: Plain, key: str, faults: list[str]) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        faults.append(f"{key}: must be a list of modalities; got {str(value)[:80]!r}")
        return ()
    names = tuple(str(item) for item in value)
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            faults.append(f"{key}: names {name!r} twice")
        if not is_known(name):
            faults.append(f"{key}: {name!r} is no modality of 4M; {nearest_known(name)}")
    return names


def _count(value: Plain, key: str, least: int, most: int, faults: list[str]) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
        return value
    faults.append(f"{key}: must be a whole number from {least} to {most}; got {str(value)[:80]!r}")
    return least


def _switch(value: Plain, key: str, faults: list[str]) -> bool:
    if isinstance(value, bool):
        return value
    faults.append(f"{key}: must be True or False; got {value!r}")
    return False
