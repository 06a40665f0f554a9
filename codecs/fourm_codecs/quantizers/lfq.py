"""Lookup-free quantization: each code dimension keeps its sign, so a code is the bits of its id.

Source: Yu et al. 2023, https://arxiv.org/abs/2310.05737, section 3.1 and equations 3-5, as
`vector-quantize-pytorch` implements it. An entropy term makes each latent choose and all of them differ; it
is computed over every id, so a step needs B * L * vocab_size numbers.

Shapes: as in `interface.py`; a code has log2(vocab_size) numbers.
"""

from torch import Tensor

from fourm_codecs.quantizers.interface import Quantized, Quantizer
from fourm_schema.errors import CodecError

ENTROPY_WEIGHT = 0.05
DIVERSITY = 1.5
"""Weight of all codes being used, beside 1 for each latent choosing surely."""
INVERSE_TEMPERATURE = 1.0
"""How sharply a latent chooses in the entropy. The package's own 100 makes each choice sure as soon as a
latent is a few hundredths from 0, and then no gradient is left to spread them. A commitment to the signs
pulls the same way, so there is none; `docs/findings.md` has the numbers."""


class LookupFreeQuantizer(Quantizer):
    """Round each of log2(vocab_size) code dimensions to -1 or 1. It has no weights.

    Args:
        vocab_size: a power of two, 2 or more.

    Raises:
        CodecError: if it is none.
    """

    name = "lfq"

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        if vocab_size < 2 or vocab_size & (vocab_size - 1):
            raise CodecError("lfq", "the codebook's size is a power of two", got=str(vocab_size))
        # Here and not above: the package takes a second to load, which only learned codecs should cost.
        from vector_quantize_pytorch import LFQ

        self.vocab_size, self.width = vocab_size, vocab_size.bit_length() - 1
        self._bits = LFQ(
            codebook_size=vocab_size,
            entropy_loss_weight=ENTROPY_WEIGHT,
            diversity_gamma=DIVERSITY,
            commitment_loss_weight=0.0,
        )
        # It follows from the size, and so is no part of a codec's files.
        mask = self._bits.mask
        assert isinstance(mask, Tensor)
        self._bits.register_buffer("mask", mask, persistent=False)

    def forward(self, latents: Tensor) -> Quantized:
        self.check_width(latents)
        flat = latents.reshape(1, -1, self.width)
        codes, ids, loss = self._bits(flat, inv_temperature=INVERSE_TEMPERATURE)
        ids = ids.reshape(*latents.shape[:-1], 1).long()
        return Quantized(codes.reshape(latents.shape), ids, loss)

    def codes_of(self, ids: Tensor) -> Tensor:
        self.check_ids(ids)
        codes: Tensor = self._bits.indices_to_codes(ids.reshape(1, -1))
        return codes.reshape(*ids.shape[:-1], self.width).float()
