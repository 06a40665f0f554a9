"""From scores to token ids, with explicit randomness.

One uniform number decides one token (inversion of the cumulative distribution), and each request draws
its numbers from generators of its own. What else is in the batch can therefore not change them.

Shapes: T tokens to sample, V ids of the stream.
"""

import hashlib

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from fourm_runtime.generation.likely import likely
from fourm_schema.errors import RequestError

CACHED_SCORES = 2**17
"""So many scores are looked at together on a CPU: what is made of them stays in its cache."""


@attrs.frozen
class Sampling:
    """How a token is drawn from its scores.

    Attributes:
        temperature: scores are divided by it before the softmax; 0 takes the most likely token.
        top_k: only the k most likely ids may be drawn; 0 sets no limit.
        top_p: only the fewest most likely ids that together reach this probability may be drawn
            (nucleus sampling, Holtzman et al. 2020, section 3.1); 1 sets no limit.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0


def request_generator(seed: int, index: int, stream: str, sample: int = 0) -> torch.Generator:
    """Make the generator of one target of one request.

    Args:
        seed: what the user chose.
        index: number of the request within the call.
        stream: the target's name.
        sample: number of the sample of this target; further ones change nothing about the first.

    Returns:
        A CPU generator, whatever the model runs on: the numbers drawn are the same on every device.
    """
    name = f"{seed}:{index}:{stream}" + (f":{sample}" if sample else "")
    digest = hashlib.sha256(name.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


def draw_uniforms(count: int, generator: torch.Generator) -> torch.Tensor:
    """Draw `count` numbers from [0, 1) in float64, on the CPU."""
    return torch.rand(count, dtype=torch.float64, generator=generator)


def sample_tokens(
    logits_TV: torch.Tensor, uniforms_T: torch.Tensor, how: Sampling
) -> tuple[torch.Tensor, torch.Tensor]:
    """Draw one token id per row.

    Filters look at the scores as the model gives them, before the temperature, as in 4M. The arguments
    are not written to.

    Args:
        logits_TV: scores; minus infinity forbids an id.
        uniforms_T: numbers in [0, 1) that decide; unused at temperature 0.
        how: temperature and filters.

    Returns:
        ids (T,) int64, and confidences (T,) float64: the probability that the model itself gives to the
        id, at temperature 1 and before the filters. So confidences order tokens at any temperature.
    """
    rows = max(1, CACHED_SCORES // logits_TV.shape[1])
    if logits_TV.device.type == "cpu" and logits_TV.shape[0] > rows:
        pairs = zip(torch.split(logits_TV, rows), torch.split(uniforms_T, rows), strict=True)
        parts = [sample_tokens(logits, uniforms, how) for logits, uniforms in pairs]
        return torch.cat([ids for ids, _ in parts]), torch.cat([sure for _, sure in parts])
    logits = logits_TV.double()
    # Differences to the largest score: no temperature above 0 is too small to divide them by.
    below = logits - logits.amax(dim=-1, keepdim=True)
    if how.temperature in (0, 1):
        shares = below.exp_()
        weights = shares
    else:
        shares = below.exp()
        weights = below.div_(how.temperature).exp_()
    total = shares.sum(dim=-1, keepdim=True)
    if how.temperature == 0:
        ids = logits_TV.argmax(dim=-1)
    else:
        if how.top_k > 0 or how.top_p < 1:
            weights = weights * likely(logits_TV, how.top_k, how.top_p)
        ids = _invert(weights, uniforms_T.to(weights.device))
    return ids, (shares.gather(-1, ids[:, None]) / total).squeeze(-1)


def require_numbers(confidence_T: NDArray[np.floating], stream: str) -> None:
    """Refuse what was drawn from scores that are no numbers.

    Raises:
        RequestError: if a confidence is none.
    """
    if np.isnan(confidence_T).any():
        raise RequestError(
            f"targets.{stream}",
            "the model's scores are not finite",
            mend="lower `guidance`; if there is none, take an earlier checkpoint: these weights are broken",
        )


def _invert(weights_TV: torch.Tensor, uniforms_T: torch.Tensor) -> torch.Tensor:
    """Find the id in whose share of the cumulative distribution each number falls.

    Args:
        weights_TV: probabilities, up to a factor.
        uniforms_T: numbers in [0, 1).
    """
    cumulative = weights_TV.cumsum(dim=-1)
    total = cumulative[:, -1:].contiguous()
    ids = torch.searchsorted(cumulative, uniforms_T[:, None] * total, right=True)
    # A number just below 1 may round up to the total; the last possible id is meant then.
    last = torch.searchsorted(cumulative, total).clamp(max=weights_TV.shape[1] - 1)
    return torch.minimum(ids, last).squeeze(-1)
