"""Which ids are likely enough to be drawn: the k first, or the fewest that reach a probability.

A full sort of the scores would say both. Few of them matter: on a CPU, scores are first counted into narrow
cells, and only the cell in which the probability is reached is sorted.

Shapes: T tokens to sample, V ids of the stream, C cells, M ids of a row in its decisive cell.
"""

import numpy as np
import torch

CELLS, SPAN = 2048, 40.0
"""How many cells, and how far below the largest score they reach: what is further down shares the last."""


def likely(logits_TV: torch.Tensor, top_k: int = 0, top_p: float = 1.0) -> torch.Tensor:
    """Which ids are among the likely ones: (T, V) bool.

    Equal scores are taken in the order of their ids, so exactly `top_k` ids stay. The id that makes the
    probability reach `top_p` stays, too (nucleus sampling, Holtzman et al. 2020, section 3.1).
    """
    largest = logits_TV.amax(dim=-1, keepdim=True)
    if top_k > 0 or logits_TV.device.type != "cpu" or not torch.isfinite(largest).all():
        return _by_sorting(logits_TV, top_k, top_p)
    below = logits_TV.double() - largest
    return _by_cells(logits_TV, below, below.exp(), top_p)


def _by_cells(
    logits_TV: torch.Tensor, below_TV: torch.Tensor, shares_TV: torch.Tensor, top_p: float
) -> torch.Tensor:
    """The nucleus: an id stays if those above it do not reach `top_p` yet."""
    cells_TV = (below_TV * (-CELLS / SPAN)).clamp_(max=CELLS - 1).long()
    reached_TC = shares_TV.new_zeros(len(shares_TV), CELLS).scatter_add_(1, cells_TV, shares_TV).cumsum_(1)
    wanted_T1 = top_p * reached_TC[:, -1:]
    decisive_T1 = (reached_TC < wanted_T1).sum(1, keepdim=True).clamp_(max=CELLS - 1)
    above_T1 = reached_TC.gather(1, (decisive_T1 - 1).clamp(min=0)) * (decisive_T1 > 0)
    rows, ids = (cells_TV == decisive_T1).nonzero(as_tuple=True)
    # By row, then by score, equal ones by id: each sort keeps what the one before it has put in order.
    order = logits_TV[rows, ids].argsort(descending=True, stable=True)
    order = order[rows[order].argsort(stable=True)]
    rows, ids = rows[order], ids[order]
    sizes = torch.bincount(rows, minlength=len(logits_TV))
    ranks = torch.arange(len(rows)) - (sizes.cumsum(0) - sizes)[rows]
    shares_TM = shares_TV.new_zeros(len(logits_TV), int(sizes.max()))
    shares_TM[rows, ranks] = shares_TV[rows, ids]
    before_TM = shares_TM.cumsum(1) - shares_TM + above_T1
    stays_TM = before_TM < wanted_T1
    stays_TM[:, 0] = True
    kept = cells_TV < decisive_T1
    kept[rows, ids] = stays_TM[rows, ranks]
    return kept


def _by_sorting(logits_TV: torch.Tensor, top_k: int, top_p: float) -> torch.Tensor:
    ordered = _ascending(logits_TV)
    if top_k > 0:
        ordered = ordered[:, -top_k:].contiguous()
    size = ordered.shape[1]
    count = torch.full_like(ordered[:, :1], size, dtype=torch.int64)
    if top_p < 1:
        below = ordered.double()
        reached = (below - below[:, -1:]).exp_().cumsum_(dim=-1).contiguous()
        # What is above an id must not reach `top_p` yet: so what is up to it is more than the rest.
        rest = ((1 - top_p) * reached[:, -1:]).contiguous()
        count = (size - torch.searchsorted(reached, rest, right=True)).clamp(min=1)
    last = ordered.gather(-1, size - count)
    kept = logits_TV >= last
    if (kept.sum(dim=-1, keepdim=True) > count).any():
        above, equal = logits_TV > last, logits_TV == last
        kept = above | (equal & (equal.cumsum(dim=-1) <= count - above.sum(dim=-1, keepdim=True)))
    return kept


def _ascending(logits_TV: torch.Tensor) -> torch.Tensor:
    """The scores of each row, smallest first. Where they come from is not asked, so NumPy's sort will do,
    which is several times as fast as PyTorch's on a CPU."""
    if logits_TV.device.type != "cpu" or logits_TV.dtype not in (torch.float32, torch.float64):
        return logits_TV.sort(dim=-1).values
    return torch.from_numpy(np.sort(logits_TV.numpy(), axis=-1))
