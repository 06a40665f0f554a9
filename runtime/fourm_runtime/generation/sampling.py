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

from fourm_schema.errors import RequestError


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
    logits = logits_TV.double()
    probabilities = logits.softmax(dim=-1)
    if how.temperature == 0:
        ids = logits.argmax(dim=-1)
    else:
        kept = keep_likely(logits, how.top_k, how.top_p)
        # Differences to the largest score: no temperature above 0 is too small to divide them by.
        cooled = (kept - kept.amax(dim=-1, keepdim=True)) / how.temperature
        ids = _invert(cooled.softmax(dim=-1), uniforms_T.to(logits.device))
    return ids, probabilities.gather(-1, ids[:, None]).squeeze(-1)


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


def keep_likely(logits_TV: torch.Tensor, top_k: int = 0, top_p: float = 1.0) -> torch.Tensor:
    """Copy the scores, with minus infinity where an id is not among the likely ones.

    Equal scores are taken in the order of their ids, so exactly `top_k` ids stay. The id that makes the
    probability reach `top_p` stays, too.
    """
    if top_k <= 0 and top_p >= 1:
        return logits_TV
    ordered, order = logits_TV.sort(dim=-1, descending=True, stable=True)
    drop = torch.zeros_like(ordered, dtype=torch.bool)
    if top_k > 0:
        drop[:, top_k:] = True
    if top_p < 1:
        shares = ordered.masked_fill(drop, -torch.inf).softmax(dim=-1)
        drop |= shares.cumsum(dim=-1) - shares >= top_p
    return logits_TV.masked_fill(torch.zeros_like(drop).scatter(-1, order, drop), -torch.inf)


def _invert(probabilities_TV: torch.Tensor, uniforms_T: torch.Tensor) -> torch.Tensor:
    """Find the id in whose share of the cumulative distribution each number falls."""
    cumulative = probabilities_TV.cumsum(dim=-1)
    total = cumulative[:, -1:]
    ids = torch.searchsorted(cumulative, uniforms_T[:, None] * total, right=True).squeeze(-1)
    # A number just below 1 may round up to the total; the last possible id is meant then.
    last = (cumulative < total).sum(dim=-1)
    return torch.minimum(ids, last)
