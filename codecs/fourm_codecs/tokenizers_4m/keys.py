"""The keys of a released tokenizer's configuration: which decide numbers, and which only how it was trained.

The released classes swallow keys that they do not know, so that a misspelled one is silently a default. Here
a key that looks like a misspelling is refused. What is nothing like any is passed by: the files may hold
whatever their training was called with.
"""

import difflib
from collections.abc import Iterable, Mapping

from fourm_codecs.base import Json

ENCODING = (
    "image_size", "image_size_enc", "n_channels", "n_labels", "enc_type", "patch_proj", "post_mlp",
    "patch_size", "quant_type", "codebook_size", "num_codebooks", "latent_dim", "norm_codes", "norm_latents",
    "undo_std",
)  # fmt: skip
DECODING = ("dec_type", "out_conv", "image_size_dec", "patch_size_dec")
DIFFUSION = (
    "num_train_timesteps", "scheduler", "beta_schedule", "prediction_type", "clip_sample", "thresholding",
    "conditioning", "zero_terminal_snr",
)  # fmt: skip
TRAINING = (
    "sync_codebook", "ema_decay", "threshold_ema_dead_code", "code_replacement_policy", "commitment_weight",
    "kmeans_init", "ckpt_path", "ignore_keys", "freeze_enc", "cls_free_guidance_dropout", "masked_cfg",
    "masked_cfg_low", "masked_cfg_high", "dec_transformer_dropout",
)  # fmt: skip
CONTROLNET = ("sd_path", "image_size_sd", "pretrained_cn", "enable_xformer", "adapter")

KEPT = (*ENCODING, *DECODING, *DIFFUSION)
_KNOWN = (*KEPT, *TRAINING, *CONTROLNET)
_ALIKE = 0.8
"""Share of letters (of `difflib`) from which a word is taken for a misspelling of another."""


def misspelled(keys: Iterable[str]) -> list[str]:
    """Say of each unknown key that looks like a known one which that is.

    >>> misspelled(["norm_code", "codebook_size", "opt_betas"])
    ["norm_code: is no key of a 4M tokenizer, whose code passes it by; 'norm_codes' was meant?"]
    """
    found = []
    for key in sorted(set(keys) - set(_KNOWN)):
        near = difflib.get_close_matches(key, _KNOWN, n=1, cutoff=_ALIKE)
        if near:
            what = "is no key of a 4M tokenizer, whose code passes it by"
            found.append(f"{key}: {what}; {near[0]!r} was meant?")
    return found


def kept(config: Mapping[str, object]) -> dict[str, Json]:
    """The keys that decide numbers, as plain data."""
    return {key: _plain(config[key]) for key in KEPT if key in config}


def _plain(value: object) -> Json:
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
