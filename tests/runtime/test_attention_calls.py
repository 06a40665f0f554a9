"""What attention builds, shares and refuses: calls for many blocks, graphs, lengths, tensors, devices."""

import importlib
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from fourm_runtime.attention import Blocks, attend
from fourm_schema.errors import BackendError
from tests.runtime.attention_oracle import CPU, draw_tensors


def test_many_small_blocks_share_calls() -> None:
    """A call per block would cost more than the blocks: the step has hundreds of them."""
    attend_once = Blocks.build([length for length in range(5, 65) for _ in range(2)])
    q, k, v, _ = draw_tensors(attend_once, torch.float32)
    attend(q, k, v, attend_once)
    (calls,) = vars(attend_once.bias(CPU))["fourm_calls"].values()

    assert len(calls.causal) < 30


def test_layers_share_what_was_built_for_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    operator = importlib.import_module("fourm_runtime.cpu_operator")
    sort, sorted_sizes = operator._sort, []

    def counting(*args: object) -> object:
        sorted_sizes.append(args[1])
        return sort(*args)

    monkeypatch.setattr(operator, "_sort", counting)
    blocks = Blocks.build([3, 5])
    leaves = [x.detach().requires_grad_() for x in draw_tensors(blocks, torch.float32)[:3]]
    for _layer in range(3):
        torch.autograd.backward(attend(leaves[0], leaves[1], leaves[2], blocks).sum())

    assert sorted_sizes == [8]
    assert blocks.bias(CPU) is blocks.bias(CPU)


def test_what_stands_around_attention_is_compiled_once_for_all_lengths() -> None:
    """Graphs that held the lengths of blocks would be compiled anew for every batch."""
    graphs: list[int] = []

    def count(graph: torch.fx.GraphModule, _: list[Tensor]) -> Callable[..., object]:
        graphs.append(1)
        return graph.forward

    def layer(x_TD: Tensor, weight: Tensor, blocks: Blocks) -> Tensor:
        q = (x_TD @ weight).view(-1, 2, 8)
        return x_TD + attend(q, q, q, blocks).flatten(1) @ weight

    compiled = torch.compile(layer, dynamic=True, backend=count)
    weight = torch.eye(16).requires_grad_()
    counts = []
    for lengths in ([3, 4], [5, 9, 2], [1, 30], [2, 0, 6, 7], [11, 3, 7], [4, 5] * 9):
        blocks = Blocks.build(lengths)
        x = torch.randn(blocks.q_size, 16, generator=torch.Generator().manual_seed(0))
        assert torch.equal(compiled(x, weight, blocks), layer(x, weight, blocks))
        counts.append(len(graphs))

    assert counts[0] > 0
    assert counts[1] == counts[-1]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Blocks.build([1, 2], [3]), r"equally many blocks.*got queries \[1, 2\], keys \[3\]"),
        (lambda: Blocks.build([-1]), r"none of negative length"),
        (lambda: Blocks.build([2], [3], causal=True), r"as many keys as queries.*Blocks\.cached"),
        (lambda: Blocks.prefixed([2], [1]), r"a key for each of its queries; got queries \[2\], keys \[1\]"),
        (lambda: Blocks.cached([2], [1], 4), r"got 2 new tokens, 1 rows filled of 4"),
        (lambda: Blocks.cached([1], [5], 4), r"got 1 new tokens, 5 rows filled of 4"),
        (lambda: Blocks.build(list(range(12)), [1]), r"\[0, 1, 2, 3, 4, 5, 6, 7, \.\.\. 12 in all\]"),
    ],
)
def test_lengths_that_are_no_blocks_are_refused(make: Callable[[], Blocks], message: str) -> None:
    with pytest.raises(BackendError, match=message):
        make()


def test_tensors_that_do_not_fit_the_blocks_are_refused() -> None:
    x = torch.zeros(3, 2, 8)

    with pytest.raises(BackendError, match=r"hold 2 queries and 4 keys; got queries \(3, 2, 8\)"):
        attend(x, x, x, Blocks.build([2], [4]))
    with pytest.raises(BackendError, match=r"keys \(3, 1, 8\)"):
        attend(x, x[:, :1], x[:, :1], Blocks.build([3]))


def test_unlike_dtypes_are_refused_with_what_to_do() -> None:
    x = torch.zeros(3, 2, 8)

    with pytest.raises(BackendError, match=r"(?s)same dtype.*use one dtype for queries, keys and values"):
        attend(x, x.double(), x.double(), Blocks.build([3]))


def test_a_cache_is_refused_where_gradients_are_wanted() -> None:
    """No GPU kernel has a backward pass for it: better to hear of it on the CPU."""
    x = torch.zeros(1, 2, 8, requires_grad=True)

    with pytest.raises(BackendError, match=r"no backward pass; run it under torch\.no_grad"):
        attend(x, x, x, Blocks.cached([1], [1], 1))
    with torch.no_grad():
        attend(x, x, x, Blocks.cached([1], [1], 1))
