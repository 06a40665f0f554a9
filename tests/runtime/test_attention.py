"""Attention over packed blocks is exact softmax attention, on every kind of block that the model uses."""

import importlib
from collections.abc import Callable
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from fourm_runtime.attention import Blocks, attend
from tests.runtime.attention_oracle import (
    CPU,
    TOLERANCE,
    agree,
    block_lengths,
    build,
    dense,
    draw_tensors,
    mask_of,
    outputs_and_gradients,
    scale_off,
)

DTYPES = pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
CUDA = pytest.param(
    "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
)


@DTYPES
@pytest.mark.parametrize("kind", ["self", "cross", "causal", "prefixed"])
@settings(max_examples=15)
@given(lengths=block_lengths())
def test_outputs_and_gradients_are_those_of_an_explicit_softmax(
    kind: str, dtype: torch.dtype, lengths: tuple[list[int], list[int]]
) -> None:
    found, truth = outputs_and_gradients(build(kind, *lengths), dtype)

    assert agree(found, truth, TOLERANCE[dtype])


@DTYPES
@settings(max_examples=15)
@given(lengths=block_lengths())
def test_a_cache_gives_each_query_the_keys_up_to_its_own(
    dtype: torch.dtype, lengths: tuple[list[int], list[int]]
) -> None:
    """Rows of the cache that are not filled yet hold anything, even what is not a number."""
    blocks = build("cached", *lengths)
    q, k, v, _ = draw_tensors(blocks, dtype)
    unfilled = (mask_of(blocks) == -torch.inf).all(dim=0)
    dirty = [x.clone() for x in (k, v)]
    if len(q):
        for x in dirty:
            x[unfilled] = torch.nan

    found = attend(q, dirty[0], dirty[1], blocks)

    assert agree([found], [dense(q.double(), k.double(), v.double(), mask_of(blocks))], TOLERANCE[dtype])


@pytest.mark.parametrize("device", [CUDA])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", ["self", "cross", "causal", "prefixed"])
@settings(max_examples=20)
@given(lengths=block_lengths())
def test_the_gpu_agrees_with_the_same_oracle(
    kind: str, dtype: torch.dtype, device: str, lengths: tuple[list[int], list[int]]
) -> None:
    found, truth = outputs_and_gradients(build(kind, *lengths), dtype, device)

    assert agree(found, truth, 1e-4 if dtype is torch.float32 else 3e-2)


@pytest.mark.parametrize("kind", ["self", "cross", "causal", "prefixed"])
@settings(max_examples=10)
@given(lengths=block_lengths())
def test_the_output_is_the_same_bit_for_bit_without_a_graph(
    kind: str, lengths: tuple[list[int], list[int]]
) -> None:
    """xformers takes another path when nothing needs a gradient."""
    blocks = build(kind, *lengths)
    q, k, v, _ = draw_tensors(blocks, torch.float32)

    assert torch.equal(attend(q, k, v, blocks), attend(q.clone().requires_grad_(), k, v, blocks))


def test_long_blocks_are_read_in_place() -> None:
    """Copying them would cost more than a call; equal neighbours even share one."""
    blocks = Blocks.build([300, 300, 5, 200])
    found, truth = outputs_and_gradients(blocks, torch.float64)
    (calls,) = vars(blocks.bias(CPU))["fourm_calls"].values()

    assert [(rows.count, rows.length) for rows in calls.queries.rows] == [(2, 300), (1, 5), (1, 200)]
    assert all(rows.read is None for rows in calls.queries.rows + calls.keys.rows)
    assert agree(found, truth, TOLERANCE[torch.float64])


@pytest.mark.parametrize(("q", "k"), [([], []), ([0, 0], [3, 2]), ([3, 2], [0, 0])])
def test_without_queries_or_keys_the_inputs_still_get_zero_gradients(q: list[int], k: list[int]) -> None:
    """None would make an optimiser, or a reduction over ranks, treat the projections as unused."""
    blocks = Blocks.build(q, k)
    leaves = [x.detach().requires_grad_() for x in draw_tensors(blocks, torch.float32)[:3]]

    out = attend(leaves[0], leaves[1], leaves[2], blocks)
    torch.autograd.backward(out.sum())

    assert out.shape == leaves[0].shape
    assert not out.any()
    assert all(x.grad is not None and not x.grad.any() for x in leaves)


def test_a_query_whose_block_has_no_key_gives_zero_and_disturbs_nobody() -> None:
    found, truth = outputs_and_gradients(Blocks.build([2, 3, 4], [5, 0, 1]), torch.float64)

    assert not found[0][2:5].any()
    assert agree(found, truth, 1e-12)


def test_what_is_not_a_number_stays_in_its_block() -> None:
    """One damaged sample must not hide in the padding of its neighbours' bucket."""
    blocks = Blocks.build([3, 9, 5, 7], [4, 2, 8, 6])
    q, k, v, _ = draw_tensors(blocks, torch.float32)
    leaves = [x.detach().clone() for x in (q, k, v)]
    leaves[0][0], leaves[1][0], leaves[2][0] = torch.nan, torch.nan, torch.nan
    for leaf in leaves:
        leaf.requires_grad_()

    out = attend(leaves[0], leaves[1], leaves[2], blocks)
    torch.autograd.backward(out.sum())

    assert out[:3].isnan().any()
    assert not out[3:].isnan().any()
    for leaf, own in zip(leaves, (3, 4, 4), strict=True):
        assert leaf.grad is not None
        assert not leaf.grad[own:].isnan().any()


def _mask_dropped(operator: ModuleType, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(operator, "_mask", lambda *_: None)


def _future_shown(operator: ModuleType, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(operator, "CausalBias", type("Never", (), {}))


def _padding_counted_twice(operator: ModuleType, patch: pytest.MonkeyPatch) -> None:
    rows = operator.Rows
    patch.setattr(rows, "take_upstream", rows.take)


def _sum_of_exponentials_lost(operator: ModuleType, patch: pytest.MonkeyPatch) -> None:
    forward = operator._forward

    def lossy(*args: object, **options: object) -> tuple[Tensor, Tensor]:
        out, lse = forward(*args, **options)
        return out, torch.full_like(lse, torch.nan)

    patch.setattr(operator, "_forward", lossy)


@pytest.mark.parametrize(
    ("plant", "kind"),
    [
        (scale_off, "self"),
        (_mask_dropped, "cross"),
        (_mask_dropped, "self"),
        (_future_shown, "causal"),
        (_padding_counted_twice, "self"),
        (_sum_of_exponentials_lost, "causal"),
    ],
)
def test_a_planted_fault_is_caught(
    plant: Callable[[ModuleType, pytest.MonkeyPatch], None], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The comparison above is only worth what it can see."""
    lengths = [5, 7, 2, 9], [3, 8, 8, 1]
    assert agree(*outputs_and_gradients(build(kind, *lengths), torch.float32), TOLERANCE[torch.float32])
    plant(importlib.import_module("fourm_runtime.cpu_operator"), monkeypatch)

    found, truth = outputs_and_gradients(build(kind, *lengths), torch.float32)

    assert not agree(found, truth, 10 * TOLERANCE[torch.float32])


@pytest.mark.parametrize("place", range(3))
def test_a_result_that_is_not_a_number_never_passes(place: int) -> None:
    """`max(errors) < tolerance` would be true here for two of the three places."""
    truth = [torch.ones(2, dtype=torch.float64) for _ in range(3)]
    found = [x.clone() for x in truth]
    assert agree(found, truth, 1e-9)
    found[place][1] = torch.nan

    assert not agree(found, truth, 1e9)
