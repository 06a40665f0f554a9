"""From the host to a device without waiting for it."""

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device | str) -> Tensor:
    """Copy a tensor of the host to a device; on a GPU by way of pinned memory, so that nobody waits.

    A copy from ordinary memory stops the host until the GPU has done all that it was asked before.

    Args:
        values: on the CPU, or already where they should be.
        device: where to.
    """
    device = torch.device(device)
    if device.type != "cuda" or values.device.type != "cpu" or not values.numel():
        return values.to(device)
    # Pinning needs a context, and a thread that never chose a GPU would make one on the first.
    with torch.cuda.device(device):
        return values.pin_memory().to(device, non_blocking=True)
