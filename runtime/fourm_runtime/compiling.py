"""The blocks of a model as compiled graphs: one of the encoder, one of the decoder, whatever the lengths.

A block is norms, projections, gates and residuals around attention; torch.compile fuses what stands between
the matrix products. Attention itself is an opaque operator in it (`fourm_runtime.attention_regions`).
Embeddings and the loss, whose work differs from one micro-batch to the next, stay as they are.
"""

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from fourm_runtime.transformer import AnyToAnyTransformer, Routes


def compile_blocks(model: "AnyToAnyTransformer", backend: str = "inductor") -> None:
    """Compile every block in place, at its first call; names and values of parameters stay as they are.

    Args:
        model: on its device.
        backend: of torch.compile.
    """
    for block in (*model.encoder, *model.decoder):
        block.compile(dynamic=True, fullgraph=True, backend=backend)
    model.compiled = True


def let_lengths_vary(*tokens: torch.Tensor | None) -> None:
    """Tell the compiler that the first sizes of these tensors are unlike each other, now and later.

    Where two happen to be equal at first, it would assume that they always are, and compile again.
    """
    from torch._dynamo import maybe_mark_dynamic  # at the top of the file, it would cost seconds

    for each in tokens:
        if each is not None:
            maybe_mark_dynamic(each, 0)


def let_routes_vary(routes: "Routes") -> None:
    """The same for who attends to whom."""
    codes = (regions.code for regions in (routes.within_encoder, routes.within_decoder, routes.to_context))
    let_lengths_vary(*codes, routes.joined, routes.silent)
