"""Cross-entropy over large vocabularies, a few rows of the scores at a time.

The scores of a micro-batch against 30,000 words take more room than the network's activations, and their
gradient as much again. Here neither is ever whole: of each row the forward pass keeps the log-sum-exp, and
the backward pass makes the scores of a chunk once more, turns them into their gradient and adds that up, as
FlashAttention does with scores of attention (Dao et al. 2022, section 3.1). It costs a fourth matrix product
where plain cross-entropy has three.

Shapes: T tokens that predict a stream, D width, V ids.
"""

import torch
from torch import Tensor

LARGE = 8192
"""Ids from which a vocabulary's scores are made in chunks, on a GPU."""

CHUNK = 2**26
"""Scores of a chunk: 256 MiB in float32."""


def is_large(vocab_size: int, device: torch.device) -> bool:
    """Whether scores are made in chunks: on a GPU, of vocabularies that are large.

    On a CPU memory is not what is short, and the fourth product costs a third more time.
    """
    return device.type == "cuda" and vocab_size >= LARGE


def forward_rows(hidden_TD: Tensor, weight_VD: Tensor, targets_T: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """Losses (T,) and log-sum-exp (T,), without a gradient; `rows` tokens at a time."""
    losses, lses = [], []
    for hidden, targets in zip(torch.split(hidden_TD, rows), torch.split(targets_T, rows), strict=True):
        scores = _scores(hidden, weight_VD)
        lse = scores.logsumexp(-1)
        losses.append(lse - scores.gather(1, targets[:, None])[:, 0])
        lses.append(lse)
    return torch.cat(losses), torch.cat(lses)


def backward_rows(
    hidden_TD: Tensor,
    weight_VD: Tensor,
    targets_T: Tensor,
    lse_T: Tensor,
    upstream_T: Tensor,
    total_VD: Tensor,
    rows: int,
) -> Tensor:
    """Gradient of the hidden rows (T, D); that of the weight is added to `total_VD`.

    Args:
        hidden_TD, weight_VD, targets_T, rows: as they were given to `forward_rows`.
        lse_T: what it returned.
        upstream_T: gradient of the losses.
        total_VD: in whatever dtype sums over chunks should be in.
    """
    back = torch.empty_like(hidden_TD)
    parts = (torch.split(x, rows) for x in (hidden_TD, targets_T, lse_T, upstream_T, back))
    for hidden, targets, lse, upstream, out in zip(*parts, strict=True):
        errors = _scores(hidden, weight_VD).sub_(lse[:, None]).exp_()
        errors.scatter_add_(1, targets[:, None], errors.new_full((1, 1), -1.0).expand(len(targets), 1))
        errors = errors.mul_(upstream[:, None]).to(hidden.dtype)
        out.copy_(errors @ weight_VD)
        total_VD.add_(errors.t() @ hidden)
    return back


def _scores(hidden_TD: Tensor, weight_VD: Tensor) -> Tensor:
    with torch.autocast(hidden_TD.device.type, enabled=False):
        return (hidden_TD @ weight_VD.t()).to(accurate(hidden_TD.dtype))


def accurate(dtype: torch.dtype) -> torch.dtype:
    """What to sum exponentials in: half precision is too coarse for thousands of them."""
    return torch.float32 if dtype in (torch.bfloat16, torch.float16) else dtype
