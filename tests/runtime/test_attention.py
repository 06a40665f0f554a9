"""Attention over packed blocks is exact softmax attention, on every kind of block that the model uses.

The oracle is an explicit softmax in float64 over the whole score matrix, with the mask that xformers
itself makes of the lengths.
"""

import importlib
import importlib.metadata
import math
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fourm_runtime import attention, attention_backend
from fourm_runtime.attention import Blocks, attend, operator_name
from fourm_schema.errors import BackendError

CPU = torch.device("cpu")
KINDS = ("self", "cross", "causal", "cached")
TOLERANCE = {torch.float64: 1e-12, torch.float32: 5e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}
DTYPES = pytest.mark.parametrize("dtype", list(TOLERANCE), ids=str)
CUDA = pytest.param(
    "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
)

# No block, tiny ones that share a bucket, and some that are long enough for a call of their own.
LENGTHS = st.one_of(st.just(0), st.integers(1, 12), st.integers(1, 12), st.integers(64, 80))


@st.composite
def block_lengths(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Query and key lengths of up to nine blocks."""
    count = draw(st.integers(0, 9))
    q = draw(st.lists(LENGTHS, min_size=count, max_size=count))
    if draw(st.booleans()):
        q = q[:1] * count
    return q, draw(st.lists(LENGTHS, min_size=count, max_size=count))


def build(kind: str, q: Sequence[int], k: Sequence[int]) -> Blocks:
    if kind == "cross":
        return Blocks.build(q, k)
    if kind == "cached":
        filled = [new + before for new, before in zip(q, k, strict=True)]
        return Blocks.cached(q, filled, capacity=max([1, *filled]) + 2)
    if kind == "prefixed":
        return Blocks.prefixed(q, [own + before for own, before in zip(q, k, strict=True)])
    return Blocks.build(q, causal=kind == "causal")


def mask_of(blocks: Blocks) -> Tensor:
    """(T, S) additive mask, as xformers writes these lengths out."""
    biases = importlib.import_module("xformers.ops.fmha.attn_bias")
    q, k = list(blocks.q_lengths), list(blocks.k_lengths)
    if not q:
        return torch.zeros(0, 0, dtype=torch.float64)
    if blocks.capacity is not None:
        bias = biases.BlockDiagonalCausalWithOffsetPaddedKeysMask.from_seqlens(
            q, blocks.capacity, k, device=CPU
        )
    else:
        bias = biases.BlockDiagonalMask.from_seqlens(q, k, device=CPU)
        bias = bias.make_causal_from_bottomright() if blocks.causal else bias
    mask: Tensor = bias.materialize((blocks.q_size, blocks.k_size), dtype=torch.float64, device=CPU)
    return mask


def draw_tensors(
    blocks: Blocks, dtype: torch.dtype, heads: int = 4, width: int = 64, seed: int = 0
) -> list[Tensor]:
    """Queries, keys, values and an upstream gradient; keys and values as views of one projection."""
    generator = torch.Generator().manual_seed(seed)

    def normal(size: int, parts: int) -> Tensor:
        return torch.randn(size, parts * heads * width, generator=generator).to(dtype)

    q, upstream = normal(blocks.q_size, 1), normal(blocks.q_size, 1)
    k, v = normal(blocks.k_size, 2).chunk(2, dim=-1)
    return [x.reshape(len(x), heads, width) for x in (q, k, v, upstream)]


def dense(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """softmax(q k^T / sqrt K + mask) v; a row that is masked everywhere gives 0."""
    scores = torch.einsum("thk,shk->hts", q, k) / math.sqrt(q.shape[-1]) + mask
    keyless = (mask == -torch.inf).all(dim=-1, keepdim=True) if mask.shape[-1] else torch.ones(len(q), 1) > 0
    weights = scores.masked_fill(keyless, 0.0).softmax(-1).masked_fill(keyless, 0.0)
    return torch.einsum("hts,shk->thk", weights, v)


def agree(found: Sequence[Tensor], truth: Sequence[Tensor], tolerance: float) -> bool:
    """Whether each tensor is within `tolerance` of its truth, relative to its largest value (at least 1).

    A truth of exactly 0, such as dq with one key, is a difference of numbers of size 1.
    """
    errors = [
        float((a.detach().double() - b.detach()).abs().max() / max(1.0, float(b.detach().abs().max())))
        for a, b in zip(found, truth, strict=True)
        if b.numel()
    ]
    # Not `max(errors) < tolerance`: that is true when a later error is not a number.
    return all(error < tolerance for error in errors)


def outputs_and_gradients(
    blocks: Blocks, dtype: torch.dtype, device: str = "cpu"
) -> tuple[list[Tensor], list[Tensor]]:
    """What attention computes, and what it should: output, dq, dk, dv."""
    q, k, v, upstream = (x.to(device) for x in draw_tensors(blocks, dtype))
    leaves = [x.detach().requires_grad_() for x in (q, k, v)]
    out = attend(leaves[0], leaves[1], leaves[2], blocks)
    found = [out, *torch.autograd.grad(out, leaves, upstream)]
    doubles = [x.detach().double().cpu().requires_grad_() for x in (q, k, v)]
    expected = dense(doubles[0], doubles[1], doubles[2], mask_of(blocks))
    truth = [expected, *torch.autograd.grad(expected, doubles, upstream.double().cpu())]
    return [x.cpu() for x in found], truth


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


def test_many_small_blocks_share_calls() -> None:
    """A call per block would cost more than the blocks: the step has hundreds of them."""
    attend_once = Blocks.build([length for length in range(5, 65) for _ in range(2)])
    q, k, v, _ = draw_tensors(attend_once, torch.float32)
    attend(q, k, v, attend_once)
    (calls,) = vars(attend_once.bias(CPU))["fourm_calls"].values()

    assert len(calls.causal) < 30


def test_long_blocks_are_read_in_place() -> None:
    """Copying them would cost more than a call; equal neighbours even share one."""
    blocks = Blocks.build([300, 300, 5, 200])
    found, truth = outputs_and_gradients(blocks, torch.float64)
    (calls,) = vars(blocks.bias(CPU))["fourm_calls"].values()

    assert [(rows.count, rows.length) for rows in calls.queries.rows] == [(2, 300), (1, 5), (1, 200)]
    assert all(rows.read is None for rows in calls.queries.rows + calls.keys.rows)
    assert agree(found, truth, TOLERANCE[torch.float64])


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


def _scale_off(operator: ModuleType, patch: pytest.MonkeyPatch) -> None:
    backward = operator._backward
    patch.setattr(operator, "_backward", lambda *a, **k: backward(*a, **{**k, "scale": 1.01 / math.sqrt(64)}))


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
        (_scale_off, "self"),
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


def test_reproducible_mode_changes_nothing_on_a_cpu_and_insists_on_cutlass_on_a_gpu() -> None:
    """FlashAttention 2 declares its backward pass non-deterministic, and xformers would find none."""
    blocks = Blocks.build([3, 70, 5])
    free, _ = outputs_and_gradients(blocks, torch.float32)
    torch.use_deterministic_algorithms(True)
    try:
        bound, _ = outputs_and_gradients(blocks, torch.float32)
        operators = attention_backend.operators(torch.device("cuda"))
    finally:
        torch.use_deterministic_algorithms(False)

    assert all(torch.equal(a, b) for a, b in zip(free, bound, strict=True))
    assert operators is not None
    assert [operator.NAME for operator in operators] == ["cutlassF-pt", "cutlassB-pt"]
    assert attention_backend.operators(torch.device("cuda")) is None


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


def test_importing_attention_does_not_import_xformers_and_using_it_says_nothing() -> None:
    """The import takes seconds, and on a CPU its warning is about a file that attention never needs."""
    script = (
        "import sys, torch\n"
        "from fourm_runtime.attention import Blocks, attend\n"
        "assert 'xformers' not in sys.modules\n"
        "x = torch.zeros(2, 1, 8)\n"
        "attend(x, x, x, Blocks.build([2]))\n"
        "assert 'xformers' in sys.modules\n"
    )
    path = [str(Path(attention.__file__).parents[1]), str(Path(attention.__file__).parents[2])]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path}\n{script}"], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert "xformers" not in done.stderr.lower()


def test_the_operator_has_a_name_to_print() -> None:
    assert operator_name("cpu") == "fourmF-cpu"


def test_a_device_without_kernels_is_refused_by_name() -> None:
    with pytest.raises(BackendError, match=r"there is no kernel for meta; use cpu or cuda"):
        operator_name("meta")


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


def test_another_xformers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.0.36")

    with pytest.raises(BackendError, match=r"got 0\.0\.36; pip install xformers==0\.0\.35"):
        attention_backend.fmha.__wrapped__()


def test_a_missing_xformers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)

    with pytest.raises(BackendError, match=r"xformers: is not installed; pip install"):
        attention_backend.fmha.__wrapped__()


def test_an_xformers_that_torch_has_outgrown_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> object:
        raise ImportError("schema differs")

    monkeypatch.setattr(importlib, "import_module", broken)

    with pytest.raises(BackendError, match=r"cannot be imported beside torch .*got schema differs"):
        attention_backend.fmha.__wrapped__()


@pytest.mark.parametrize("error", [0.5, math.nan])
def test_a_kernel_behind_the_opened_gate_must_pass_the_self_test(
    error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """xformers closes its gate when an extension fails to load that attention does not need."""
    common = importlib.import_module("xformers.ops.fmha.common")
    monkeypatch.setattr(common, "_built_with_cuda", False)
    real = attention._self_test
    monkeypatch.setattr(attention, "_self_test", lambda _, dtype: real(CPU, dtype))
    with torch.inference_mode():
        attention.check_device.__wrapped__(torch.device("cuda"))
    assert common._built_with_cuda

    monkeypatch.setattr(attention, "_self_test", lambda *_: error)
    with pytest.raises(BackendError, match=r"disagrees with an explicit softmax"):
        attention.check_device.__wrapped__(torch.device("cuda"))


def test_a_gpu_without_a_kernel_for_one_precision_still_serves_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Old GPUs have none for bfloat16, the newest none for float32; `attend` refuses those by name."""
    monkeypatch.setattr(importlib.import_module("xformers.ops.fmha.common"), "_built_with_cuda", True)
    tested = []

    def self_test(_: torch.device, dtype: torch.dtype) -> float:
        tested.append(dtype)
        if dtype is torch.float32:
            raise NotImplementedError("no operator found")
        return 1e-3

    monkeypatch.setattr(attention, "_self_test", self_test)
    attention.check_device.__wrapped__(torch.device("cuda"))

    assert tested == [torch.float32, torch.bfloat16]


def test_the_self_test_passes_here_and_sees_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    assert attention._self_test(CPU, torch.float32) < 1e-5
    _scale_off(importlib.import_module("fourm_runtime.cpu_operator"), monkeypatch)

    assert not attention._self_test(CPU, torch.float32) < 1e-4
