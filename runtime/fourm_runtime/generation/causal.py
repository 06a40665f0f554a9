"""Autoregressive decoding of sequences: the encoder runs once, each step adds one token to every row.

A sequence that is generated from nothing is, as in training, one hidden span: the decoder starts from the
first sentinel [S_1] and predicts the words and the end token, behind which only the closing sentinel could
follow. So a row is done at its end token. A sequence with a given prefix shows `prefix [S_1]` to the encoder,
and the span is the rest. Only words and the end token can be drawn; the last place is kept for the end.

A set is drawn under its grammar: at each step only ids with which the rest still fits its length, so that
whatever the model says, the set is valid and ends in time. Its prefix is items that are given, which stand
first here, whatever the order of the set; the given fields of one more item are drawn as if the model were
sure of them.

Shapes: R rows (one per sequence and guidance pass), N sequences, V ids, D width.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import attrs
import numpy as np
import torch
from numpy.typing import NDArray

from fourm_codecs.grammar import Grammar
from fourm_codecs.set_part import SetPart
from fourm_runtime.batch import Int32
from fourm_runtime.generation.plan import TargetPlan
from fourm_runtime.generation.samples import Tokens
from fourm_runtime.generation.sampling import Sampling, draw_uniforms, require_numbers, sample_tokens
from fourm_runtime.generation.stepping import CachedSteps, RecomputedSteps, StepRows
from fourm_runtime.generation.trunk import Trunk
from fourm_runtime.masking.spans import merge
from fourm_runtime.transformer import AnyToAnyTransformer
from fourm_schema.plan import Plan, Special, Stream

Method = Literal["cache", "recompute"]


def open_span(special: Special) -> int:
    """The sentinel [S_1] that opens the only hidden span."""
    return special.first_sentinel + 1


def prefix_tokens(ids: Int32, special: Special) -> Tokens:
    """What the encoder sees of a sequence that begins with `ids` (no end token) and goes on."""
    return Tokens.whole(np.append(ids, open_span(special)).astype(np.int32))


def prefix_ids(given: SetPart | Int32 | None) -> Int32:
    """The ids that a sequence begins with."""
    if given is None:
        return np.zeros(0, np.int32)
    return np.array(given.ids if isinstance(given, SetPart) else given, np.int32)


def legal_ids(plan: Plan, stream: Stream) -> NDArray[np.bool_]:
    """Which ids may be drawn: words and the end token; in a set, what its grammar admits. (V,)

    The unknown word may not: it stands for no text in particular.
    """
    special = plan.special(stream)
    legal = np.ones(stream.vocab_size, np.bool_)
    if stream.kind == "set":
        legal[special.unknown] = False
        return legal
    legal[: special.size] = False
    legal[special.end] = True
    return legal


class SequenceDecoding:
    """The state of one sequence that is being generated for one request.

    Args:
        target: how to generate it.
        special: special ids of its vocabulary.
        generator: the randomness of this target of this request, and of nothing else.
        given: ids that are given, without an end token, or the part of a set.
        grammar: what the ids of a set obey; None for a text.
    """

    def __init__(
        self,
        target: TargetPlan,
        special: Special,
        generator: torch.Generator,
        given: SetPart | Int32 | None = None,
        grammar: Grammar | None = None,
    ) -> None:
        self.target, self._special, self._generator = target, special, generator
        self._prefix = prefix_ids(given)
        self.budget = target.counts[0] - len(self._prefix)
        assert self.budget >= 1, "a prefix leaves room for the end token"
        part = given if isinstance(given, SetPart) else SetPart(tuple(self._prefix.tolist()))
        self._walk = None if grammar is None else _Walk(grammar, part)
        self._drawn: list[int] = []
        self._confidence: list[float] = []

    @property
    def finished(self) -> bool:
        return bool(self._drawn) and self._drawn[-1] == self._special.end

    @property
    def previous(self) -> int:
        """The id that the decoder reads next."""
        return self._drawn[-1] if self._drawn else open_span(self._special)

    def allowed(self, legal_V: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of the ids that mean something may come next: (V,)."""
        room = self.budget - len(self._drawn)
        if self._walk is not None:
            return legal_V & self._walk.allowed(room)
        if room > 1:
            return legal_V
        only_end = np.zeros_like(legal_V)
        only_end[self._special.end] = True
        return only_end

    def draw(self) -> torch.Tensor:
        """The random number of the next token: (1,)."""
        return draw_uniforms(1, self._generator)

    def accept(self, identity: int, confidence: float) -> None:
        self._drawn.append(identity)
        self._confidence.append(confidence)
        if self._walk is not None:
            self._walk.accept(identity)

    @property
    def ids(self) -> Int32:
        """The whole sequence, prefix and end token included."""
        start = open_span(self._special)
        visible = np.append(self._prefix, start)
        return merge(visible, np.array([start, *self._drawn], np.int32), self._special)

    @property
    def confidence(self) -> NDArray[np.float32]:
        """Of every id; 1 for those that were given."""
        return np.array([1.0] * len(self._prefix) + self._confidence, np.float32)


class _Walk:
    """Where a set stands in its grammar."""

    def __init__(self, grammar: Grammar, part: SetPart) -> None:
        self._grammar, self._part, self._state = grammar, part, grammar.start
        for identity in part.ids:
            self.accept(identity)

    def accept(self, identity: int) -> None:
        state = self._grammar.step(self._state, identity)
        assert state is not None, "codecs write, and decoding draws, what the grammar admits"
        self._state = state

    def allowed(self, room: int) -> NDArray[np.bool_]:
        return self._part.allowed(self._grammar, self._state, room)


@attrs.frozen(eq=False)
class CausalTask:
    """One sequence to generate, and where its context lies.

    Attributes:
        stream: the stream it belongs to.
        state: the sequence.
        samples: for each pass of its guidance, the sample whose encoder block it looks at.
    """

    stream: Stream
    state: SequenceDecoding
    samples: tuple[int, ...]


def decode_sequences(
    model: AnyToAnyTransformer,
    tasks: Sequence[CausalTask],
    context_SD: torch.Tensor,
    context_lengths: Sequence[int],
    legal: Mapping[str, NDArray[np.bool_]],
    method: Method = "cache",
    silent: torch.Tensor | None = None,
) -> None:
    """Run every sequence to its end; the tasks' states hold the result.

    Args:
        model: in eval mode, without gradients.
        tasks: the sequences.
        context_SD: the encoder's blocks, sample after sample.
        context_lengths: tokens of each block.
        legal: stream name -> (V,) which ids may be drawn.
        method: `cache` keeps keys and values; `recompute` runs the decoder over the whole prefix in
            each step, to check and to measure the cache.
        silent: (K,) tokens of the context that add nothing.
    """
    rows = sorted(
        (sample, number, turn)
        for number, task in enumerate(tasks)
        for turn, sample in enumerate(task.samples)
    )
    tables = StepRows.of(
        model, [(sample, tasks[number].stream) for sample, number, _ in rows], context_lengths
    )
    capacity = max(task.state.budget for task in tasks)
    steps = (
        CachedSteps(model, tables, context_SD, capacity, silent)
        if method == "cache"
        else RecomputedSteps(model, tables, context_SD, silent)
    )
    trunk = Trunk(model)
    active = list(range(len(rows)))
    while active:
        owners = [rows[row][1:] for row in active]
        hidden_RD = steps.advance(active, [tasks[number].state.previous for number, _ in owners])
        _draw_tokens(trunk, tasks, hidden_RD, owners, legal)
        active = [row for row in active if not tasks[rows[row][1]].state.finished]


def _draw_tokens(
    trunk: Trunk,
    tasks: Sequence[CausalTask],
    hidden_RD: torch.Tensor,
    owners: Sequence[tuple[int, int]],
    legal: Mapping[str, NDArray[np.bool_]],
) -> None:
    """Draw the next token of every live sequence; those with equal settings are drawn together.

    Args:
        owners: for each row, the number of its task and of the guidance pass.
    """
    row_of = {owner: row for row, owner in enumerate(owners)}
    groups: dict[tuple[str, Sampling], list[int]] = {}
    for number in dict.fromkeys(number for number, _ in owners):
        task = tasks[number]
        groups.setdefault((task.stream.name, task.state.target.sampling[0]), []).append(number)
    for (name, how), numbers in groups.items():
        states = [tasks[number].state for number in numbers]
        logits_NV = _scores(trunk, tasks, hidden_RD, row_of, numbers)
        allowed_NV = torch.from_numpy(np.stack([state.allowed(legal[name]) for state in states]))
        logits_NV = logits_NV.masked_fill(~allowed_NV.to(logits_NV.device), -torch.inf)
        ids, confidence = sample_tokens(logits_NV, torch.cat([state.draw() for state in states]), how)
        sure = confidence.cpu().numpy()
        require_numbers(sure, name)
        for state, identity, probability in zip(states, ids.tolist(), sure.tolist(), strict=True):
            state.accept(identity, probability)


def _scores(
    trunk: Trunk,
    tasks: Sequence[CausalTask],
    hidden_RD: torch.Tensor,
    row_of: Mapping[tuple[int, int], int],
    numbers: Sequence[int],
) -> torch.Tensor:
    """The scores of tasks of one stream, the passes of each summed by their weights: (N, V).

    The passes are summed before the head, which is linear: so it runs once, however many they are.
    """
    stream = tasks[numbers[0]].stream
    most = max(len(tasks[number].samples) for number in numbers)
    if most == 1:
        return trunk.logits(hidden_RD[[row_of[number, 0] for number in numbers]], stream)
    total = hidden_RD.new_zeros(len(numbers), hidden_RD.shape[1])
    for turn in range(most):
        # One pass after the other: those of each sequence are added up in the same order in any batch.
        place = [i for i, number in enumerate(numbers) if turn < len(tasks[number].samples)]
        rows = [row_of[numbers[i], turn] for i in place]
        weights = [tasks[numbers[i]].state.target.passes[turn].weight for i in place]
        index = torch.tensor(place, device=total.device)
        total = total.index_add(0, index, hidden_RD[rows] * total.new_tensor(weights)[:, None])
    return trunk.logits(total, stream)
