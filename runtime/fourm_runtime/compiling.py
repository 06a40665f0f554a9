"""What torch.compile has to be told, so that one graph of a block serves all lengths."""

import torch


def let_lengths_vary(*tokens: torch.Tensor | None) -> None:
    """Tell the compiler that the first sizes of these tensors are unlike each other, now and later.

    Where two happen to be equal at first, it would assume that they always are, and compile again.
    """
    from torch._dynamo import maybe_mark_dynamic  # at the top of the file, it would cost seconds

    for each in tokens:
        if each is not None:
            maybe_mark_dynamic(each, 0)
