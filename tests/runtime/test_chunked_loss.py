"""Cross-entropy in chunks is cross-entropy, whatever the chunks."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from fourm_runtime import loss
from fourm_runtime.chunked_loss import LARGE, backward_rows, forward_rows, is_large
from fourm_runtime.loss import loss_sums, stream_factors, target_counts, weighted
from fourm_runtime.packing import pack
from fourm_runtime.row_gradients import RowGradients
from fourm_runtime.tables import rows_added_in_place
from fourm_schema.architecture import Architecture
from tests.runtime.drawn_plans import masked_samples, plan_of, stream
from tests.runtime.test_packed_equals_padded import build, gradients

PLAN = plan_of(stream("pixels", 0), stream("image", 1), stream("bins", 2), stream("text", 3))
SHAPE = Architecture(dim=16, heads=2, encoder_depth=1, decoder_depth=1)


def drawn(rows: int, ids: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hidden rows, weight, targets, and what each loss weighs."""
    generator = torch.Generator().manual_seed(rows + ids)
    hidden, weight = (torch.randn(n, 8, dtype=dtype, generator=generator) for n in (rows, ids))
    targets = torch.randint(0, ids, (rows,), generator=generator)
    return hidden, weight, targets, torch.randn(rows, dtype=dtype, generator=generator)


def plain(rows: int, ids: int, dtype: torch.dtype) -> list[Tensor]:
    """Losses, and the gradients of their weighted sum, as PyTorch has them."""
    hidden, weight, targets, upstream = drawn(rows, ids, dtype)
    leaves = (hidden.requires_grad_(), weight.requires_grad_())
    losses = functional.cross_entropy(functional.linear(hidden, weight), targets, reduction="none")
    return [losses.detach(), *torch.autograd.grad(losses, leaves, upstream)]


def in_chunks(rows: int, ids: int, dtype: torch.dtype, chunk: int) -> list[Tensor]:
    """The same, `chunk` rows at a time."""
    hidden, weight, targets, upstream = drawn(rows, ids, dtype)
    losses, lse = forward_rows(hidden, weight, targets, chunk)
    total = torch.zeros_like(weight)
    back = backward_rows(hidden, weight, targets, lse, upstream, total, chunk)
    return [losses, back, total]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-5)], ids=str)
@settings(max_examples=20)
@given(rows=st.integers(0, 20), ids=st.integers(1, 40), chunk=st.integers(1, 25))
def test_losses_and_gradients_are_those_of_plain_cross_entropy(
    dtype: torch.dtype, tolerance: float, rows: int, ids: int, chunk: int
) -> None:
    """For chunks of one row, of all rows, and those that leave a rest; each loss may weigh differently."""
    for found, expected in zip(in_chunks(rows, ids, dtype, chunk), plain(rows, ids, dtype), strict=True):
        torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)


def test_products_in_bfloat16_have_sums_that_are_not() -> None:
    """The losses are float32, and closer to those of float32 weights than bfloat16 can tell apart."""
    hidden, weight, targets, _ = drawn(50, 300, torch.float32)
    found, _ = forward_rows(hidden.bfloat16(), weight.bfloat16(), targets, 7)
    exact = plain(50, 300, torch.float32)[0]

    assert found.dtype == torch.float32
    assert float((found - exact).norm() / exact.norm()) < 1e-2
    assert not torch.equal(found, found.bfloat16().float())


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
        in_chunks(200, 40, torch.float32, 10)

    assert max(sizes) == 200 * 8


@pytest.mark.parametrize(
    ("size", "device", "expected"), [(LARGE, "cuda", True), (LARGE - 1, "cuda", False), (10**6, "cpu", False)]
)
def test_only_large_vocabularies_on_a_gpu_are_chunked(size: int, device: str, expected: bool) -> None:
    assert is_large(size, torch.device(device)) is expected


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("in_place", [False, True])
def test_the_losses_of_a_model_are_those_of_its_scores(
    chunked: bool, in_place: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether every stream is chunked or none, in loss and in the gradient of every parameter, and whether
    autograd gathers these or rows are added where a gradient stands."""
    monkeypatch.setattr(loss, "is_large", lambda size, device: chunked)
    monkeypatch.setattr(loss, "CHUNK", 200)
    made = watched(monkeypatch)
    model = build(PLAN, SHAPE, 1, torch.float64)
    (batch,) = pack(masked_samples(PLAN, 3, 1), PLAN, model.allocation)
    factors = stream_factors(target_counts((batch,)), PLAN)
    expected = loss_sums(model(batch), batch)
    truth = gradients(model, weighted(expected, factors))

    if in_place:
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        with rows_added_in_place(model.tables, RowGradients()):
            found = model.losses(batch)
        torch.autograd.backward(weighted(found, factors))
        got = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    else:
        found = model.losses(batch)
        got = gradients(model, weighted(found, factors))

    assert list(found) == list(expected)
    assert bool(made) is chunked
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(got, truth, rtol=1e-10, atol=1e-12)


def watched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The rows of each chunk that is made from now on."""
    made: list[int] = []

    def forward(hidden: Tensor, weight: Tensor, targets: Tensor, rows: int) -> tuple[Tensor, Tensor]:
        made.append(rows)
        return forward_rows(hidden, weight, targets, rows)

    monkeypatch.setattr(loss, "forward_rows", forward)
    return made
