"""Steps of training on one device, and how much of its arithmetic they use: part of `gpu.py`.

FLOPs (2 per multiplication with addition) are those of the tokens there are: none for padding, recomputation,
norms or the optimizer. A layer's weights count for the tokens that pass them. Attention counts 4 D for each
pair of a query and a key that it sees, so in the decoder the squares of each stream's tokens, and half of
them where it is causal. A training step is three forward passes.
"""

import gc
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import attrs
import torch
from torch import nn

from dense_draws import build_plan, draw
from fourm_runtime.assemble import empty_model
from fourm_runtime.attention import Blocks
from fourm_runtime.batch import MicroBatch
from fourm_runtime.loss import target_counts
from fourm_runtime.packing import pack
from fourm_runtime.training.learner import Learner
from fourm_runtime.training.preparation import PreparedStep
from fourm_runtime.training.recipe import Recipe
from fourm_runtime.training.step import StepCounts
from fourm_runtime.training.world import World
from fourm_runtime.transformer import AnyToAnyTransformer, DecoderBlock, EncoderBlock, Routes
from fourm_schema.allocation import allocate
from fourm_schema.architecture import Architecture
from fourm_schema.plan import Plan

NOMINAL = 989e12
"""Dense bfloat16 products of an H100 or H200, FLOP/s, as NVIDIA states them."""

WARM, BATCHES, TURNS, RATE = 3, 3, 10, 1e-4


@attrs.frozen
class Steps:
    """Training steps of one size in one way.

    Attributes:
        size: of the model.
        way: `eager` or `compiled`.
        parameters: of the model.
        samples: of a step.
        tokens: visible and predicted tokens of a sample, on average.
        seconds: of a step, median.
        samples_per_s, tokens_per_s: by that.
        tflops: 10^12 FLOP/s.
        mfu: of the nominal peak.
        mfu_measured: of the peak measured on this device.
        gigabytes: most memory that was in use; None on a CPU.
        first_s: seconds of the first step, compilation included.
        waits: where a step waits for the GPU, in PyTorch's words; empty if nowhere.
    """

    size: str
    way: str
    parameters: int
    samples: int
    tokens: float
    seconds: float
    samples_per_s: float
    tokens_per_s: float
    tflops: float
    mfu: float
    mfu_measured: float
    gigabytes: float | None
    first_s: float
    waits: str


def forward_flops(model: AnyToAnyTransformer, batch: MicroBatch) -> float:
    """FLOPs of one forward pass over the tokens of a micro-batch."""
    routes, dim = Routes.of(batch), model.architecture.dim
    visible, wanted = batch.encoder.size, batch.decoder.size
    total = _of_linear(model.context_proj, visible)
    for name, tokens in batch.dense.items():
        total += _of_linear(model.tables.dense[name.replace(".", "__")], len(tokens.index))
    for block in model.encoder:
        assert isinstance(block, EncoderBlock)
        total += _of_linear(block, visible) + 4 * dim * _pairs(routes.encoder)
    seen = [routes.parallel, routes.causal, routes.parallel_context, routes.causal_context]
    for block in model.decoder:
        assert isinstance(block, DecoderBlock)
        contexts = _of_linear(block.cross_attn.kv, visible)
        own = _of_linear(block, wanted) - _of_linear(block.cross_attn.kv, wanted)
        total += own + contexts + 4 * dim * sum(map(_pairs, seen))
    for name, head in batch.heads.items():
        total += 2 * len(head.index) * dim * model.allocation.token_span(model.plan.stream(name)).size
    return float(total)


def _of_linear(module: nn.Module, tokens: int) -> int:
    """Of every linear layer in a module, for so many tokens."""
    return sum(2 * tokens * m.weight.numel() for m in module.modules() if isinstance(m, nn.Linear))


def _pairs(blocks: Blocks) -> int:
    """Pairs of a query and a key that it sees."""
    if not blocks.causal:
        return sum(q * k for q, k in zip(blocks.q_lengths, blocks.k_lengths, strict=True))
    both = zip(blocks.q_lengths, blocks.k_lengths, strict=True)
    return sum(q * (k - q) + q * (q + 1) // 2 for q, k in both)


def fresh_model(plan: Plan, shape: Architecture, device: torch.device) -> AnyToAnyTransformer:
    """A model with small weights, drawn where it stands: large ones take minutes on a CPU."""
    model = empty_model(plan, allocate(plan), shape).to(device)
    generator = torch.Generator(device).manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(1.0 if name.endswith("weight") else 0.0)
            else:
                parameter.normal_(0.0, 0.02, generator=generator)
    return model


def prepare(plan: Plan, samples: int, steps: int, device: torch.device) -> list[PreparedStep]:
    """Steps of one micro-batch each, packed and on the device."""
    allocation, prepared = allocate(plan), []
    for number, (_, masked) in enumerate(draw(plan, samples, steps)):
        (batch,) = pack(masked, plan, allocation)
        batch = batch if device.type == "cpu" else batch.to(device)
        prepared.append(PreparedStep(number, (batch,), target_counts((batch,)), batch.encoder.size))
    return prepared


def take_step(learner: Learner, prepared: PreparedStep) -> torch.Tensor:
    """One optimizer step; the losses, still on the device."""
    losses = learner.compute(prepared, StepCounts(prepared.targets, prepared.tokens_in))
    learner.update(RATE, losses.norm)
    return losses.sums


def measure_steps(
    size: str, shape: Architecture, samples: int, device: torch.device, peak: float, timed: int, small: bool
) -> Iterator[Steps | str]:
    """Time eager and compiled steps of one size; the batch is halved until it fits.

    Args:
        size: its name.
        shape: the network.
        samples: of a step, at first.
        device: where.
        peak: FLOP/s of a large product, measured there.
        timed: steps that are timed.
        small: cut vocabularies, for the smoke run.

    Yields:
        What was found, as soon as it is, and remarks.
    """
    plan = build_plan(own_rows=False, most_ids=600 if small else None)
    done: set[str] = set()
    while samples:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        try:
            for found in _measure(size, plan, shape, samples, device, peak, timed):
                if found.way not in done:
                    done.add(found.way)
                    yield found
            return
        except torch.OutOfMemoryError as fault:
            yield f"{size}: {samples} samples do not fit ({str(fault).splitlines()[0][:90]})"
        samples //= 2
    yield f"{size}: left out, not even one sample fits"


def _measure(
    size: str, plan: Plan, shape: Architecture, samples: int, device: torch.device, peak: float, timed: int
) -> Iterator[Steps]:
    recipe = Recipe.model_validate({"steps": {"total": 1}, "compile": False})
    learner = Learner(fresh_model(plan, shape, device), recipe, World(device=device))
    prepared = prepare(plan, samples, BATCHES, device)
    flops = [3 * forward_flops(learner.model, step.micro_batches[0]) for step in prepared]
    tokens = [step.tokens_in + sum(step.targets.values()) for step in prepared]
    turns = [number % BATCHES for number in range(timed)]
    for way in ("eager", "compiled"):
        if way == "compiled":
            torch._dynamo.reset()
            learner.model.compile_blocks("inductor" if device.type == "cuda" else "aot_eager")
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        first_s = _seconds(partial(take_step, learner, prepared[0]), device)
        for number in range(WARM if device.type == "cuda" else 1):
            take_step(learner, prepared[(number + 1) % BATCHES])
        waits = where_it_waits(partial(take_step, learner, prepared[0]), device)
        seconds = [_seconds(partial(take_step, learner, prepared[turn]), device) for turn in turns]
        losses = take_step(learner, prepared[0])
        assert bool(losses.isfinite().all()), f"{size}, {way}: a loss is not finite"
        # Steps differ in their tokens: rates are over all of them.
        share = sum(seconds) / timed
        work = statistics.fmean(flops[turn] for turn in turns) / share
        yield Steps(
            size=size,
            way=way,
            parameters=sum(p.numel() for p in learner.model.parameters()),
            samples=samples,
            tokens=statistics.fmean(tokens) / samples,
            seconds=statistics.median(seconds),
            samples_per_s=samples / share,
            tokens_per_s=statistics.fmean(tokens[turn] for turn in turns) / share,
            tflops=work / 1e12,
            mfu=work / NOMINAL,
            mfu_measured=work / peak,
            gigabytes=torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None,
            first_s=first_s,
            waits=waits,
        )


def where_it_waits(work: Callable[[], object], device: torch.device) -> str:
    """Run it where asking a GPU for a number is an error; the error, or nothing."""
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        work()
    except RuntimeError as fault:
        if "synchron" not in str(fault):
            raise
        return str(fault).splitlines()[0]
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")
    return ""


def product_peak(device: torch.device, side: int) -> float:
    """FLOP/s of a product of two square bfloat16 matrices of random numbers, the best of six times ten."""
    generator = torch.Generator(device).manual_seed(0)
    a, b = (torch.randn(side, side, device=device, generator=generator).bfloat16() for _ in range(2))
    return max(
        2 * side**3 * TURNS / _seconds(lambda: [a @ b for _ in range(TURNS)], device) for _ in range(6)
    )


def compile_once(
    device: torch.device, shape: Architecture, samples: Sequence[int]
) -> tuple[list[int], float]:
    """Graphs compiled after each of several batches, and how far gradients are from eager ones.

    Args:
        device: where.
        shape: a small network.
        samples: of each batch.
    """
    from torch._dynamo.utils import counters

    plan = build_plan(own_rows=False, most_ids=600)
    eager, compiled = (fresh_model(plan, shape, device) for _ in range(2))
    compiled.compile_blocks("inductor" if device.type == "cuda" else "aot_eager")
    torch._dynamo.reset()
    counters.clear()
    graphs, worst = [], 0.0
    for count in samples:
        (step,) = prepare(plan, count, 1, device)
        answers = []
        for model in (eager, compiled):
            loss = torch.stack([*model.losses(step.micro_batches[0]).values()]).sum()
            found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
            answers.append([x for x in found if x is not None and x.numel()])
        for one, other in zip(*answers, strict=True):
            error = float((one - other).abs().max()) / max(float(one.abs().max()), 1e-6)
            # Once an error is no number, it stays so.
            worst = error if math.isnan(error) else max(worst, error)
        graphs.append(counters["stats"]["unique_graphs"])
    return graphs, worst


def _seconds(work: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start
