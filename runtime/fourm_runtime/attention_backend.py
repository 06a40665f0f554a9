"""xformers, found and held to what is known of it: the one module that says where it comes from.

It is imported at the first call, since that takes seconds.
"""

import importlib
import importlib.metadata
import logging
from functools import cache
from types import ModuleType
from typing import Any

import torch

from fourm_schema.errors import BackendError

XFORMERS_VERSION = "0.0.35"


class _ForeignExtension(logging.Filter):
    """Drops the one warning that is no fault where there is no GPU: attention needs nothing of that file."""

    def filter(self, record: logging.LogRecord) -> bool:
        return "can't load C++/CUDA extensions" not in record.getMessage()


@cache
def fmha() -> ModuleType:
    """`xformers.ops.fmha`, imported at the first call.

    Raises:
        BackendError: if it is missing, of another version, or does not fit the installed torch.
    """
    try:
        version = importlib.metadata.version("xformers")
    except importlib.metadata.PackageNotFoundError:
        raise BackendError(
            "xformers", "is not installed", mend=f"pip install xformers=={XFORMERS_VERSION}"
        ) from None
    if version.partition("+")[0] != XFORMERS_VERSION:
        raise BackendError(
            "xformers",
            "this version was never tested here, and some of what is used of it is private",
            got=version,
            mend=f"pip install xformers=={XFORMERS_VERSION}",
        )
    logger, quiet = logging.getLogger("xformers"), _ForeignExtension()
    if not torch.cuda.is_available():
        logger.addFilter(quiet)
    try:
        return importlib.import_module("xformers.ops.fmha")
    except ImportError as fault:
        raise BackendError(
            "xformers",
            f"{version} cannot be imported beside torch {torch.__version__}",
            got=str(fault),
            mend="install the torch release that this xformers was built for",
        ) from fault
    finally:
        logger.removeFilter(quiet)


# Types of the pair: an untyped library's classes, so Any is all that can be said of them.
def operators(device: torch.device) -> tuple[Any, Any] | None:
    """The forward and backward operators to insist on; None lets xformers choose."""
    if device.type == "cpu":
        fmha()  # which silences a warning that the operators' own import would give
        pair = importlib.import_module("fourm_runtime.cpu_operator")
        return pair.FwOp, pair.BwOp
    if torch.are_deterministic_algorithms_enabled():
        # FlashAttention 2 declares its backward pass non-deterministic; this pair's is.
        cutlass = fmha().cutlass
        return cutlass.FwOp, cutlass.BwOp
    return None


def refusal(device: torch.device, query: torch.Tensor, reason: Exception) -> BackendError:
    """What to raise when no kernel serves these tensors."""
    return BackendError(
        f"attention on {device}",
        f"no kernel serves {str(query.dtype).removeprefix('torch.')} of head width {query.shape[-1]}",
        got=str(reason).strip(),
        mend="use one dtype for queries, keys and values, and a head width that is a multiple of 8",
    )
