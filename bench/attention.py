"""Time of attention over many blocks on a CPU, against a call per block and against dense padding.

    python bench/attention.py [--rounds 9]

`loop` calls PyTorch's fused attention once per block and joins the results; `dense` pads all blocks to the
longest and masks. Forward and backward, one thread, CPU milliseconds, medians of interleaved rounds. The
constants at the head of `fourm_runtime.cpu_operator` were chosen here.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from pairs import interleave

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in (".", "codecs", "runtime")]

from fourm_runtime.attention import Blocks, attend  # noqa: E402 - path set above

# Blocks, shortest, longest, heads, head width, causal.
CASES = (
    (128, 2, 16, 4, 32, False),
    (128, 5, 64, 4, 32, False),
    (128, 5, 64, 4, 32, True),
    (128, 5, 64, 6, 64, False),
    (64, 20, 100, 6, 64, False),
    (64, 64, 64, 4, 32, False),
    (16, 100, 256, 4, 32, False),
)


def ways(lengths: list[int], heads: int, width: int, causal: bool) -> dict[str, Callable[[], Tensor]]:
    """Three ways to compute the same attention, each giving (T, H, K) that depends on fresh leaves."""
    generator = torch.Generator().manual_seed(0)
    size, count, longest = sum(lengths), len(lengths), max(lengths)
    leaves = [torch.randn(size, heads, width, generator=generator).requires_grad_() for _ in range(3)]
    blocks = Blocks.build(lengths, causal=causal)
    slots = torch.cat([torch.arange(length) + place * longest for place, length in enumerate(lengths)])
    mask = (torch.arange(longest) < torch.tensor(lengths)[:, None])[:, None, None]
    mask = mask & torch.ones(longest, longest, dtype=torch.bool).tril(0 if causal else longest)

    def packed() -> Tensor:
        return attend(leaves[0], leaves[1], leaves[2], blocks)

    def loop() -> Tensor:
        parts = zip(*(torch.split(leaf.transpose(0, 1), lengths, dim=1) for leaf in leaves), strict=True)
        fused = functional.scaled_dot_product_attention
        return torch.cat([fused(q, k, v, is_causal=causal) for q, k, v in parts], dim=1).transpose(0, 1)

    def dense() -> Tensor:
        q, k, v = (
            leaf.new_zeros(count * longest, heads, width)
            .index_copy(0, slots, leaf)
            .view(count, longest, heads, width)
            .transpose(1, 2)
            for leaf in leaves
        )
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return out.transpose(1, 2).flatten(0, 1)[slots]

    return {"packed": packed, "loop": loop, "dense": dense}


def step(way: Callable[[], Tensor]) -> None:
    """Forward and backward."""
    torch.autograd.backward(way().square().sum())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9, help="interleaved rounds (default 9)")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print("blocks  lengths    heads  causal    packed    loop   dense   (ms)")
    for count, low, high, heads, width, causal in CASES:
        generator = torch.Generator().manual_seed(1)
        lengths = torch.randint(low, high + 1, (count,), generator=generator).tolist()
        # The round that warms up builds what later ones reuse, as the first layer of a step does.
        times = interleave(
            {name: partial(step, way) for name, way in ways(lengths, heads, width, causal).items()}, rounds
        )
        packed, loop, dense = (1e3 * times.cpu(name) for name in ("packed", "loop", "dense"))
        print(
            f"{count:6d}  {low:3d}..{high:<4d} {heads:3d}x{width}  {causal!s:>6}"
            f"  {packed:8.1f}{loop:8.1f}{dense:8.1f}"
        )


if __name__ == "__main__":
    main()
