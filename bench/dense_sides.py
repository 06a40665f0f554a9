"""The two sides of a training step: ours as training runs it, and the dense baseline.

Each takes a whole step: forward, loss, backward, gradient clipping at norm 1, fused AdamW (betas 0.9 and
0.95, weight decay 0.05 on matrices, none on tables). Ours begins at `Masked` and packs it; the baseline
begins at the working dictionary. Ours is the training code itself (`fourm_runtime.training.learner.Learner`).

AdamW of ours passes by rows of tables that never had a gradient. Long into a training that is few of them, so
every row that the samples can ever touch is given moments before the first step.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor, nn
from torch._C._profiler import _ExtraFields_Allocation  # no other name for it
from torch.profiler import ProfilerActivity, profile

from dense_draws import used_ids
from dense_model import DenseModel
from dense_samples import WorkingDict
from fourm_runtime.batch import Masked
from fourm_runtime.loss import head_losses, stream_factors, target_counts, weighted
from fourm_runtime.packing import pack
from fourm_runtime.tables import rows_added_in_place
from fourm_runtime.training.learner import Learner
from fourm_runtime.training.optimizer import build_optimizer, set_learning_rate
from fourm_runtime.training.preparation import PreparedStep
from fourm_runtime.training.recipe import Recipe
from fourm_runtime.training.step import StepCounts
from fourm_runtime.training.world import World
from fourm_runtime.transformer import AnyToAnyTransformer, Routes

RATE = 1e-4
RECIPE = Recipe.model_validate(
    {"steps": {"total": 1}, "optimizer": {"lr": RATE}, "loss": {"divisor": "declared"}}
)


class Side(Protocol):
    """One of the two."""

    def step(self, number: int) -> None:
        """Take a training step on a batch."""
        ...

    def loss(self, number: int) -> float:
        """The loss of a batch, nothing changed."""
        ...

    def activation_bytes(self, number: int) -> int:
        """See `recorded_memory`."""
        ...

    def parts(self, number: int) -> dict[str, float]:
        """CPU seconds of the parts of one step."""
        ...


class PackedSide:
    """Ours.

    Args:
        model: what is trained.
        batches: what is shown and asked, batch by batch.
    """

    def __init__(self, model: AnyToAnyTransformer, batches: Sequence[Masked]) -> None:
        self.model, self.batches = model, batches
        self.learner = Learner(model, RECIPE, World())
        self._give_moments()

    def _give_moments(self) -> None:
        """To the rows that will have had a gradient some day."""
        tables, allocation, plan = self.model.tables, self.model.allocation, self.model.plan
        for table, streams in ((tables.encoder.tokens, plan.inputs), (tables.decoder.tokens, plan.targets)):
            state = self.learner.optimizer.state[table]
            state["step"] = torch.zeros(())
            state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(table), torch.zeros_like(table)
            for stream in streams:
                if not stream.is_dense and (table is tables.encoder.tokens or stream.layout == "sequence"):
                    first, ids = allocation.token_offset(stream), used_ids(stream)
                    state["exp_avg_sq"][first + ids.start : first + ids.stop] = 1e-12
            self.learner.gradients.rows.restore(table, (state["exp_avg"], state["exp_avg_sq"]))

    def step(self, number: int) -> None:
        prepared = self._prepare(number)
        losses = self.learner.compute(prepared, self._counts(prepared))
        self.learner.update(RATE, losses.norm)

    def loss(self, number: int) -> float:
        (batch,) = self._prepare(number).micro_batches
        with torch.no_grad():
            return float(weighted(self.model.losses(batch), self._factors(number)))

    def activation_bytes(self, number: int) -> int:
        prepared = self._prepare(number)
        self.learner.gradients.clear()
        with recorded_memory() as peak:
            self.learner.compute(prepared, self._counts(prepared))
            return peak(self.model)

    def parts(self, number: int) -> dict[str, float]:
        clock = Clock()
        (batch,) = self._prepare(number).micro_batches
        clock.tick("lay out")
        self.learner.gradients.clear()
        clock.tick("optimizer")
        model, tables, routes = self.model, self.model.tables, Routes.of(batch)
        with rows_added_in_place(tables, self.learner.gradients.rows):
            content, embedding = tables.embed_input(batch)
            targets = tables.embed_target(batch)
            clock.tick("embed")
            x, emb, y = (cut(each) for each in (content + embedding, embedding, targets))
            hidden = x
            for block in model.encoder:
                hidden = block(hidden, routes)
            context = model.context_proj(model.encoder_norm(hidden)) + emb
            hidden = y
            for block in model.decoder:
                hidden = block(hidden, context, routes)
            hidden = model.decoder_norm(hidden)
            clock.tick("trunk")
            top = cut(hidden)
            loss = weighted(head_losses(tables, top, batch, model.plan), self._factors(number))
        torch.autograd.backward(loss)
        clock.tick("heads")
        torch.autograd.backward(hidden, top.grad)
        clock.tick("trunk")
        torch.autograd.backward([content + embedding, embedding, targets], [x.grad, emb.grad, y.grad])
        clock.tick("embed")
        self.learner.update(RATE, self.learner.gradients.norm())
        clock.tick("optimizer")
        return clock.seconds

    def _prepare(self, number: int) -> PreparedStep:
        masked = self.batches[number % len(self.batches)]
        packed = pack(masked, self.model.plan, self.model.allocation)
        return PreparedStep(number, packed, target_counts(packed), 0)

    def _counts(self, prepared: PreparedStep) -> StepCounts:
        return StepCounts(prepared.targets, prepared.tokens_in)

    def _factors(self, number: int) -> Mapping[str, float]:
        targets = self.batches[number % len(self.batches)].targets
        counts = {name: selection.size for name, selection in targets.items()}
        return stream_factors(counts, self.model.plan, "declared")


class DenseSide:
    """The baseline.

    Args:
        model: the padded model.
        batches: working dictionaries.
        budget: N and M.
    """

    def __init__(self, model: DenseModel, batches: Sequence[WorkingDict], budget: int) -> None:
        self.model, self.batches, self.budget = model, batches, budget
        tables = {id(p) for part in model.tables() for p in part.parameters()}
        settings = RECIPE.optimizer
        self.optimizer = build_optimizer(
            model, weight_decay=settings.weight_decay, betas=settings.betas, eps=settings.eps
        )
        kept, plain = self.optimizer.param_groups
        moved = [p for p in kept["params"] if id(p) in tables]
        kept["params"] = [p for p in kept["params"] if id(p) not in tables]
        plain["params"] += moved

    def step(self, number: int) -> None:
        torch.autograd.backward(self._loss(number))
        self._update()

    def loss(self, number: int) -> float:
        with torch.no_grad():
            return float(self._loss(number))

    def activation_bytes(self, number: int) -> int:
        with recorded_memory() as peak:
            torch.autograd.backward(self._loss(number))
            found = peak(self.model)
        self.optimizer.zero_grad(set_to_none=True)
        return found

    def parts(self, number: int) -> dict[str, float]:
        model, samples = self.model, self.batches[number % len(self.batches)]
        clock = Clock()
        shown = model.select_inputs(samples, self.budget)
        asked = model.select_targets(samples, self.budget)
        start, first = shown.content + shown.embedding, asked.content + asked.embedding
        clock.tick("embed")
        x, emb, y = (cut(each) for each in (start, shown.embedding, first))
        hidden = model.run_decoder(y, model.run_encoder(x, emb, shown.hidden[:, None]), asked.self_mask)
        clock.tick("trunk")
        top = cut(hidden)
        torch.autograd.backward(model.predict(top, asked))
        clock.tick("heads")
        torch.autograd.backward(hidden, top.grad)
        clock.tick("trunk")
        torch.autograd.backward([start, shown.embedding, first], [x.grad, emb.grad, y.grad])
        clock.tick("embed")
        self._update()
        clock.tick("optimizer")
        return clock.seconds

    def _loss(self, number: int) -> Tensor:
        return self.model.loss(self.batches[number % len(self.batches)], self.budget, self.budget)

    def _update(self) -> None:
        limit = RECIPE.optimizer.clip
        assert limit is not None
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), limit, foreach=True)
        set_learning_rate(self.optimizer, RATE)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


class Clock:
    """CPU seconds by name; what has one name adds up."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.process_time()

    def tick(self, name: str) -> None:
        """Count the time since the last call to a name."""
        now = time.process_time()
        self.seconds[name] = self.seconds.get(name, 0.0) + now - self._last
        self._last = now


def cut(x: Tensor) -> Tensor:
    """A leaf of the same numbers: gradients stop there, so that what is before it can be timed apart."""
    return x.detach().requires_grad_()


class Peak(Protocol):
    def __call__(self, model: nn.Module) -> int: ...


@contextmanager
def recorded_memory() -> Iterator[Peak]:
    """Record every allocation of PyTorch within, and yield what finds their peak.

    The peak is the most bytes that were allocated since the start and not yet freed, without the gradients
    of the model's parameters that were made within. Weights, moments and gradients that were there before
    do not count, since they are not allocated within. PyTorch's allocator reports each allocation and release
    with its address and size, so nothing is estimated; what a matrix library takes for itself is not seen.
    """
    recorder = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
    recorder.start()

    def peak(model: nn.Module) -> int:
        recorder.stop()
        gradients = {p.grad.untyped_storage().data_ptr() for p in model.parameters() if p.grad is not None}
        assert recorder.profiler is not None and recorder.profiler.kineto_results is not None
        waiting = list(recorder.profiler.kineto_results.experimental_event_tree())
        events: list[tuple[int, int, int]] = []
        while waiting:
            event = waiting.pop()
            waiting += event.children
            if isinstance(event.extra_fields, _ExtraFields_Allocation):
                events.append((event.start_time_ns, event.extra_fields.ptr, event.extra_fields.alloc_size))
        events.sort(key=lambda event: event[0])
        made = {address: moment for moment, address, size in events if size > 0}
        living: dict[int, int] = {}
        total = most = 0
        for moment, address, size in events:
            if size < 0:
                total -= living.pop(address, 0)
            elif address not in gradients or made[address] != moment:
                living[address] = size
                total += size
                most = max(most, total)
        return most

    yield peak
