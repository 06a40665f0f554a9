"""Cross-entropy in chunks is cross-entropy, whatever the chunks."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from fourm_runtime import chunked_loss
from fourm_runtime.chunked_loss import LARGE, chunked_cross_entropy, is_large
from fourm_runtime.loss import loss_sums, stream_factors, target_counts, weighted
from fourm_runtime.packing import pack
from fourm_schema.architecture import Architecture
from tests.runtime.drawn_plans import masked_samples, plan_of, stream
from tests.runtime.test_packed_equals_padded import build, gradients

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
PLAN = plan_of(stream("pixels", 0), stream("image", 1), stream("bins", 2), stream("text", 3))
SHAPE = Architecture(dim=16, heads=2, encoder_depth=1, decoder_depth=1)


def plain(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(functional.linear(hidden, weight), targets, reduction="none")


def answers(loss: Loss, rows: int, ids: int, dtype: torch.dtype, autocast: bool = False) -> list[Tensor]:
    """Losses, and the gradients of a weighted sum of them."""
    generator = torch.Generator().manual_seed(rows + ids)
    hidden, weight = (
        torch.randn(n, 8, dtype=dtype, generator=generator).requires_grad_() for n in (rows, ids)
    )
    targets = torch.randint(0, ids, (rows,), generator=generator)
    upstream = torch.randn(rows, dtype=dtype, generator=generator)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        losses = loss(hidden, weight, targets)
    return [losses.detach(), *torch.autograd.grad(losses, (hidden, weight), upstream.to(losses.dtype))]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str)
@settings(max_examples=20)
@given(rows=st.integers(0, 20), ids=st.integers(1, 40), chunk=st.integers(1, 200))
def test_losses_and_gradients_are_those_of_plain_cross_entropy(
    dtype: torch.dtype, tolerance: float, rows: int, ids: int, chunk: int
) -> None:
    """For chunks of one row, of all rows, and those that leave a rest; each loss may weigh differently."""

    def chunked(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        return chunked_cross_entropy(hidden, weight, targets, chunk)

    for found, expected in zip(
        answers(chunked, rows, ids, dtype), answers(plain, rows, ids, dtype), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_under_autocast_products_are_in_bfloat16_and_sums_are_not() -> None:
    """The losses are float32, and closer to those of float32 weights than bfloat16 can tell apart."""
    found = answers(chunked_cross_entropy, 50, 300, torch.float32, autocast=True)
    exact = answers(plain, 50, 300, torch.float32)

    assert [x.dtype for x in found] == [torch.float32] * 3
    for one, other in zip(found, exact, strict=True):
        assert float((one - other).norm() / other.norm()) < 1e-2
    assert not torch.equal(found[0], found[0].bfloat16().float())


def test_scores_of_all_rows_never_exist_at_once() -> None:
    """That is what it is for: no tensor that it makes holds more scores than a chunk."""
    sizes: list[int] = []

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves it untyped
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]  # likewise

        def __torch_dispatch__(
            self,
            func: Callable[..., object],
            types: object,
            args: tuple[object, ...] = (),
            kwargs: object = None,
        ) -> object:
            out = func(*args, **(kwargs if isinstance(kwargs, dict) else {}))
            sizes.extend(
                x.numel() for x in (out if isinstance(out, tuple) else (out,)) if isinstance(x, Tensor)
            )
            return out

    with Watch():
        answers(lambda h, w, t: chunked_cross_entropy(h, w, t, 400), 200, 40, torch.float32)

    assert max(sizes) == 200 * 8


@pytest.mark.parametrize(
    ("size", "device", "expected"), [(LARGE, "cuda", True), (LARGE - 1, "cuda", False), (10**6, "cpu", False)]
)
def test_only_large_vocabularies_on_a_gpu_are_chunked(size: int, device: str, expected: bool) -> None:
    assert is_large(size, torch.device(device)) is expected


@pytest.mark.parametrize("chunked", [False, True])
def test_the_losses_of_a_model_are_those_of_its_scores(
    chunked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether every stream is chunked or none, in loss and in the gradient of every parameter."""
    monkeypatch.setattr(chunked_loss, "is_large", lambda size, device: chunked)
    model = build(PLAN, SHAPE, 1, torch.float64)
    (batch,) = pack(masked_samples(PLAN, 3, 1), PLAN, model.allocation)
    factors = stream_factors(target_counts((batch,)), PLAN)

    found, expected = model.losses(batch), loss_sums(model(batch), batch)

    assert list(found) == list(expected)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        gradients(model, weighted(found, factors)),
        gradients(model, weighted(expected, factors)),
        rtol=1e-10,
        atol=1e-12,
    )
