"""Shape of the transformer: the sizes of 4M (reference 4.9) and every switch a checkpoint can need."""

from typing import Literal

import attrs

from fourm_schema.errors import PlanError, nearest


@attrs.frozen(kw_only=True)
class Architecture:
    """Everything about the network that the streams do not decide.

    Attributes:
        dim: width D of the residual stream.
        heads: attention heads; `dim` is a multiple.
        encoder_depth, decoder_depth: blocks.
        mlp_ratio: MLP hidden width over D; a gated MLP uses two thirds of it.
        activation: `silu` or `gelu`.
        gated_mlp: act(fc1 x) * fc3 x instead of act(fc1 x) (SwiGLU, Shazeer 2020).
        qkv_bias, proj_bias, mlp_bias, norm_bias: which layers have biases.
        qk_norm: LayerNorm on queries and keys.
        registers: learned tokens put before each sample's encoder tokens.
        tie_head: the output head is the decoder's input table.
        share_stream_embedding: encoder and decoder use one stream-embedding table.
        decoder_streams_apart: in the decoder's self-attention a token sees its own stream only; else also the
            sample's streams before it in the plan (4M's `decoder_sep_mask` is False).
        decoder_left_to_right: in the decoder's self-attention a token of a grid, too, sees those up to itself
            only (4M's `decoder_causal_mask`); when generating, all of a grid still see each other, as there.
        stored_positions: the sin-cos positions are those of the checkpoint, bit for bit, not computed anew.
        null_is_silent: when generating, a pass that shows nothing adds nothing to what is predicted (4M's
            sampler has no context then); else it shows the null token, as in training. Means nothing where
            there are registers.
    """

    dim: int
    heads: int
    encoder_depth: int
    decoder_depth: int
    mlp_ratio: float = 4.0
    activation: Literal["silu", "gelu"] = "silu"
    gated_mlp: bool = True
    qkv_bias: bool = False
    proj_bias: bool = False
    mlp_bias: bool = False
    norm_bias: bool = False
    qk_norm: bool = False
    registers: int = 0
    tie_head: bool = True
    share_stream_embedding: bool = True
    decoder_streams_apart: bool = True
    decoder_left_to_right: bool = False
    stored_positions: bool = False
    null_is_silent: bool = False

    def __attrs_post_init__(self) -> None:
        if self.dim % self.heads or self.dim % 4:
            raise PlanError(
                "model", "dim must be a multiple of heads and of 4", got=f"dim {self.dim}, heads {self.heads}"
            )

    @property
    def head_dim(self) -> int:
        return self.dim // self.heads

    @property
    def mlp_hidden(self) -> int:
        """Hidden width of the MLP: int(2 (D r) / 3) when gated, as 4M has it."""
        wide = self.dim * self.mlp_ratio
        return int(2 * wide / 3) if self.gated_mlp else int(wide)


SIZES: dict[str, Architecture] = {
    "nano": Architecture(dim=128, heads=4, encoder_depth=3, decoder_depth=3),
    "tiny": Architecture(dim=384, heads=6, encoder_depth=6, decoder_depth=6),
    "small": Architecture(dim=512, heads=8, encoder_depth=8, decoder_depth=8),
    "base": Architecture(dim=768, heads=12, encoder_depth=12, decoder_depth=12),
    "large": Architecture(dim=1024, heads=16, encoder_depth=24, decoder_depth=24),
    "xlarge": Architecture(dim=2048, heads=32, encoder_depth=24, decoder_depth=24),
}


def architecture(size: str) -> Architecture:
    """Look a size up by name.

    Raises:
        PlanError: if there is no such size; the message lists the sizes.
    """
    if size not in SIZES:
        raise PlanError("model.size", f"{size!r} is no size", mend=nearest(size, list(SIZES)))
    return SIZES[size]
