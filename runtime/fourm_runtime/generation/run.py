"""Runs generation plans: many requests at once, each step of theirs in as few forward passes as it can be.

All samples that a step needs (guidance passes, requests, targets) travel in one packed pass. What shows
the same to the encoder is encoded once: targets that do not depend on each other share their first pass.
"""

from collections.abc import Mapping, Sequence

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from fourm_codecs.set_part import DrawnCodec, SetPart
from fourm_runtime.batch import Int32, MicroBatch
from fourm_runtime.generation.causal import (
    CausalTask,
    Method,
    SequenceDecoding,
    decode_sequences,
    legal_ids,
    prefix_ids,
    prefix_tokens,
)
from fourm_runtime.generation.combine import Produced, combine
from fourm_runtime.generation.parallel import GridDecoding
from fourm_runtime.generation.plan import GenerationPlan, TargetPlan
from fourm_runtime.generation.samples import Sample, Tokens, packed, split
from fourm_runtime.generation.sampling import request_generator
from fourm_runtime.generation.trunk import Trunk
from fourm_runtime.transformer import AnyToAnyTransformer, Routes


@attrs.frozen(eq=False)
class Job:
    """A request whose values are encoded.

    Attributes:
        plan: what to do.
        shows: stream name -> tokens that were given.
        prefixes: stream name -> ids that a generated sequence begins with, without an end token, or the
            part of a set that is given.
        seed, index: they seed the request's randomness, with the name of each target.
    """

    plan: GenerationPlan
    shows: Mapping[str, Tokens]
    prefixes: Mapping[str, Int32 | SetPart] = attrs.field(factory=dict)
    seed: int = 0
    index: int = 0


def run_jobs(
    model: AnyToAnyTransformer,
    jobs: Sequence[Job],
    legal: Mapping[str, NDArray[np.bool_]] | None = None,
    method: Method = "cache",
    *,
    sets: Mapping[str, DrawnCodec] | None = None,
) -> list[dict[str, Produced]]:
    """Generate what every job asks for.

    Args:
        model: on any device; it is put into eval mode for the call.
        jobs: they may differ in everything.
        legal: stream name -> (V,) ids of a sequence that mean something, where not all words do.
        method: how sequences are decoded; `recompute` is for checks.
        sets: stream name -> codec, of every set that is asked for: it is drawn under its grammar, and put
            in its order.

    Returns:
        Stream name -> tokens, one mapping per job, in order.

    Raises:
        RequestError: if the scores of the model are no numbers.
    """
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            return _Runner(model, jobs, legal or {}, sets or {}, method).run()
    finally:
        model.train(training)


@attrs.frozen(eq=False)
class _Task:
    """One sample of one target of one job in the current step."""

    job: int
    plan: TargetPlan
    state: GridDecoding | SequenceDecoding
    shows: tuple[Mapping[str, Tokens], ...]
    """What each of its passes shows, its own tokens left out."""


class _Runner:
    def __init__(
        self,
        model: AnyToAnyTransformer,
        jobs: Sequence[Job],
        legal: Mapping[str, NDArray[np.bool_]],
        sets: Mapping[str, DrawnCodec],
        method: Method,
    ) -> None:
        self._model, self._jobs, self._sets = model, jobs, sets
        self._method: Method = method
        passes = [len(target.counts) for job in jobs for target in job.plan.targets]
        self._trunk = Trunk(model, max(passes, default=0))
        self._known = [dict(job.shows) for job in jobs]
        self._made: list[dict[str, Produced]] = [{} for _ in jobs]
        self._legal = {
            stream.name: legal_ids(model.plan, stream) & legal.get(stream.name, np.True_)
            for stream in model.plan.targets
            if stream.layout == "sequence"
        }

    def run(self) -> list[dict[str, Produced]]:
        for number in range(max((len(job.plan.steps) for job in self._jobs), default=0)):
            tasks = [
                task
                for index, job in enumerate(self._jobs)
                if number < len(job.plan.steps)
                for target in job.plan.steps[number].targets
                for task in self._tasks(index, target)
            ]
            self._decode(tasks)
            samples: dict[tuple[int, str], list[_Task]] = {}
            for task in tasks:
                samples.setdefault((task.job, task.plan.stream), []).append(task)
            for (index, name), own in samples.items():
                drawn = [self._produced(task) for task in own]
                made = drawn[0] if len(drawn) == 1 else combine(own[0].plan.combine, drawn)
                self._made[index][name] = made
                self._known[index][name] = Tokens.whole(made.ids)
        return self._made

    def _produced(self, task: _Task) -> Produced:
        """What a target came to. The items of a sorted set move to their places, those that were given too:
        so the targets after it see it as they did in training."""
        ids, confidence = task.state.ids, task.state.confidence
        if task.plan.stream not in self._sets:
            return Produced(ids, confidence)
        places = self._sets[task.plan.stream].sort_places(ids.tolist())
        return Produced(ids[places], confidence[places])

    def _tasks(self, index: int, target: TargetPlan) -> list[_Task]:
        """One per sample of a target; all of them see the same."""
        job, known = self._jobs[index], self._known[index]
        shows = [{name: known[name] for name in one.shows} for one in target.passes]
        generators = [
            request_generator(job.seed, job.index, target.stream, number) for number in range(target.samples)
        ]
        if target.scheme != "autoregressive":
            return [
                _Task(index, target, GridDecoding(target, generator), tuple(shows))
                for generator in generators
            ]
        stream = self._model.plan.stream(target.stream)
        special, codec = self._model.plan.special(stream), self._sets.get(stream.name)
        assert codec is not None or stream.kind != "set", "a set is generated under its grammar"
        given = job.prefixes.get(target.stream)
        if given is not None:
            begun = prefix_tokens(prefix_ids(given), special)
            shows = [{**shown, target.stream: begun} for shown in shows]
        grammar = None if codec is None else codec.automaton
        states = [SequenceDecoding(target, special, generator, given, grammar) for generator in generators]
        return [_Task(index, target, state, tuple(shows)) for state in states]

    def _decode(self, tasks: Sequence[_Task]) -> None:
        """One pass that all targets share, then the sequences to their ends, then the rest of the grids."""
        samples, places = self._first_samples(tasks)
        batch = packed(samples, self._model)
        context = self._pass(batch, samples, tasks, places)
        causal = [
            CausalTask(self._model.plan.stream(task.plan.stream), task.state, tuple(place))
            for task, place in zip(tasks, places, strict=True)
            if isinstance(task.state, SequenceDecoding)
        ]
        if causal:
            decode_sequences(
                self._model, causal, context, batch.encoder_lengths, self._legal, self._method, batch.silent
            )
        while unfinished := [task for task in tasks if not task.state.finished]:
            samples, places = self._grid_samples(unfinished)
            self._pass(packed(samples, self._model), samples, unfinished, places)

    def _pass(
        self,
        batch: MicroBatch,
        samples: Sequence[Sample],
        tasks: Sequence[_Task],
        places: Sequence[Sequence[int]],
    ) -> torch.Tensor:
        """Encode samples, and give their grids what they ask for. Returns the context."""
        routes = Routes.of(batch)
        context = self._trunk.encode(batch, routes)
        if batch.heads:
            hidden = self._trunk.decode(batch, context, routes)
            asked = {name: hidden[head.index] for name, head in batch.heads.items()}
            self._accept(tasks, places, split(asked, samples))
        return context

    def _first_samples(self, tasks: Sequence[_Task]) -> tuple[list[Sample], list[list[int]]]:
        """One sample per job and visible content, whichever targets look at it."""
        place: dict[tuple[object, ...], int] = {}
        shows: list[Mapping[str, Tokens]] = []
        asks: list[dict[str, Int32]] = []
        places = []
        for task in tasks:
            own = []
            for shown in task.shows:
                key: tuple[object, ...] = (task.job, *((n, id(tokens)) for n, tokens in shown.items()))
                while key in place and not _may_ask(task, asks[place[key]]):
                    key = (*key, None)  # another sample of the same target, and of other cells
                if key not in place:
                    place[key] = len(shows)
                    shows.append(shown)
                    asks.append({})
                own.append(place[key])
                if isinstance(task.state, GridDecoding):
                    asks[place[key]][task.plan.stream] = task.state.asked
            places.append(own)
        return [Sample(*pair) for pair in zip(shows, asks, strict=True)], places

    def _grid_samples(self, tasks: Sequence[_Task]) -> tuple[list[Sample], list[list[int]]]:
        """One sample per grid and pass: it sees the cells of its own that are fixed, which others do not."""
        samples: list[Sample] = []
        places = []
        for task in tasks:
            assert isinstance(task.state, GridDecoding), "sequences have run to their ends"
            name = task.plan.stream
            places.append(list(range(len(samples), len(samples) + len(task.shows))))
            samples += [
                Sample({**shown, name: task.state.fixed}, {name: task.state.asked}) for shown in task.shows
            ]
        return samples, places

    def _accept(
        self,
        tasks: Sequence[_Task],
        places: Sequence[Sequence[int]],
        hidden: Sequence[Mapping[str, torch.Tensor]],
    ) -> None:
        """Give each grid its scores. Its passes are summed by their weights before the head, which is linear:
        so it runs once, however many they are, and once for samples that ask for the same."""
        scored: dict[tuple[object, ...], torch.Tensor] = {}
        for task, own in zip(tasks, places, strict=True):
            if not isinstance(task.state, GridDecoding):
                continue
            name, weights = task.plan.stream, [one.weight for one in task.plan.passes]
            key = (name, *own, *weights)
            if key not in scored:
                total = hidden[own[0]][name]
                if len(own) > 1:
                    parts = [hidden[place][name] * weight for place, weight in zip(own, weights, strict=True)]
                    total = torch.stack(parts).sum(0)
                scored[key] = self._trunk.logits(total, self._model.plan.stream(name))
            task.state.accept(scored[key])


def _may_ask(task: _Task, asked: Mapping[str, Int32]) -> bool:
    """Whether a task can share an encoder block with what is asked of it: no grid twice, with other cells."""
    name = task.plan.stream
    return (
        not isinstance(task.state, GridDecoding)
        or name not in asked
        or np.array_equal(asked[name], task.state.asked)
    )
