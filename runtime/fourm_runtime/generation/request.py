"""What a user asks for: values that are given, and streams to predict with their settings."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import attrs

from fourm_schema.errors import Fault, RequestError, nearest
from fourm_schema.plan import Plan, Stream

Scheme = Literal["maskgit", "roar", "autoregressive"]
SCHEMES: tuple[Scheme, ...] = ("maskgit", "roar", "autoregressive")


class RequestFaults(RequestError):
    """Every fault of one request.

    Args:
        faults: at least one.
    """

    def __init__(self, faults: Iterable[Fault]) -> None:
        found = tuple(faults)
        assert found, "a RequestFaults needs a fault"
        count = "1 fault" if len(found) == 1 else f"{len(found)} faults"
        Exception.__init__(self, "\n".join([f"the request has {count}:", *(f"  {fault}" for fault in found)]))
        self.faults = found

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.faults,)


@attrs.frozen
class Prefix:
    """A sequence in part, given as an input so that the rest is generated: the beginning of a text, or some
    of the items of a set, which the result holds too. The last of these items may lack fields: it is
    completed.

    >>> Prefix("a small")
    Prefix(value='a small')
    """

    value: object


@attrs.frozen
class Target:
    """One stream to predict, and how. Nothing is checked here: `compile_request` finds all faults at once.

    Attributes:
        stream: name of a token stream, or of a modality (its token stream is meant).
        scheme: `maskgit` samples all open tokens in each step and keeps the most confident ones; `roar`
            decodes a random part of them in each step; `autoregressive` goes left to right. None takes
            maskgit for grids and autoregressive for sequences.
        steps: steps of maskgit or roar; None takes 8, or one per token where there are fewer.
        temperature: 0 takes the most likely token.
        top_k: sample among the k most likely ids; 0 sets no limit.
        top_p: sample among the most likely ids that together reach this probability; 1 sets no limit.
        guidance: weight w of classifier-free guidance (Ho and Salimans 2022, equation 6, with 4M's
            convention): scores are u + w (c - u), where c sees everything and u lacks the conditions;
            1 is no guidance. Or weights by condition: u + sum of w_i (c_i - u), where c_i sees one of the
            conditions.
        conditions: what u lacks: names of inputs or of earlier targets. None takes all of them.
        token_schedule: `cosine` or `linear`; None takes cosine for maskgit, linear for roar.
        temperature_schedule: `constant`, `linear` or `onex:MIN:POWER`, over the steps.
        order: every cell of a grid, in the order in which they are fixed, instead of the most confident
            first (maskgit) or a random order (roar).
        samples: how many are drawn side by side and combined.
        combine: `vote` takes the id that most of them drew, token by token; its confidence is the share that
            drew it. `best` takes the sample that is likeliest per token. `join` lays them end to end, and
            later targets do not see them. None takes vote for grids, best for texts, join for sets.
    """

    stream: str
    scheme: str | None = None
    steps: int | None = None
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    guidance: float | Mapping[str, float] = 1.0
    conditions: tuple[str, ...] | None = None
    token_schedule: str | None = None
    temperature_schedule: str = "constant"
    order: Sequence[int] | None = None
    samples: int = 1
    combine: str | None = None


SETTINGS = tuple(field.name for field in attrs.fields(Target) if field.name != "stream")
GRID_SETTINGS = ("scheme", "steps", "token_schedule", "temperature_schedule", "order")
"""Settings that mean nothing to a sequence."""


@attrs.frozen
class Request:
    """Values of one sample and what to predict from them.

    Attributes:
        inputs: stream or modality name -> raw value, or a `Prefix`; None counts as not given. A
            modality's name means its dense stream if it has one, else its tokens.
        targets: what to predict, in order.
        chain: each target also sees the targets before it; else all see the inputs only.
        seed: same seed, same index, same device: same tokens.
        index: number of the request among others of the same seed.
    """

    inputs: Mapping[str, object]
    targets: tuple[Target, ...]
    chain: bool = True
    seed: int = 0
    index: int = 0

    @property
    def given(self) -> dict[str, object]:
        """The inputs that are there."""
        return {name: value for name, value in self.inputs.items() if value is not None}


def input_stream(plan: Plan, name: str) -> Stream | None:
    """Find the stream that a value named so feeds: of a modality, the dense stream if it has one."""
    named = [s for s in plan.streams if s.name == name]
    of_modality = [s for s in plan.of_modality(name) if s.can_be_input]
    found = named or sorted(of_modality, key=lambda s: not s.is_dense) or list(plan.of_modality(name))
    return found[0] if found else None


def target_stream(plan: Plan, name: str) -> Stream | None:
    """Find the stream that a target named so means: of a modality, its token stream."""
    named = [s for s in plan.streams if s.name == name]
    found = named or sorted(plan.of_modality(name), key=lambda s: (s.is_dense, not s.can_be_target))
    return found[0] if found else None


Named = tuple[str, Mapping[str, object]]
"""A name and settings."""
TargetsLike = Sequence[str | Target | Named] | Mapping[str, Mapping[str, object]]


def read_targets(
    targets: TargetsLike, plan: Plan, defaults: Mapping[str, object] | None = None
) -> tuple[Target, ...]:
    """Turn names, targets, pairs of name and settings, or a mapping of names to settings into targets.

    Args:
        targets: e.g. `"caption"`, `["caption", Target("digit", steps=4)]` or
            `{"caption": {"temperature": 0.3}}`.
        plan: the streams.
        defaults: settings of those that do not say otherwise, as far as they mean something to them: a
            sequence takes no steps. None leaves a setting alone.

    Raises:
        RequestError: if a setting is unknown.
    """
    given = {name: value for name, value in (defaults or {}).items() if value is not None}
    pairs: list[tuple[str | Target, dict[str, object]]] = (
        [(name, dict(settings)) for name, settings in targets.items()]
        if isinstance(targets, Mapping)
        else [
            (target[0], dict(target[1])) if isinstance(target, tuple) else (target, {})
            for target in ([targets] if isinstance(targets, str) else targets)
        ]
    )
    faults = [
        Fault(where, f"{setting!r} is no setting", mend=nearest(setting, SETTINGS))
        for where, settings in [("targets", given), *((f"targets.{name}", own) for name, own in pairs)]
        for setting in settings
        if setting not in SETTINGS
    ]
    if faults:
        raise RequestFaults(faults)
    return tuple(
        pair if isinstance(pair, Target) else _target(pair, given, settings, target_stream(plan, pair))
        for pair, settings in pairs
    )


def _target(
    name: str, defaults: Mapping[str, object], own: Mapping[str, object], stream: Stream | None
) -> Target:
    is_sequence = stream is not None and stream.layout == "sequence"
    fitting = {key: value for key, value in defaults.items() if not (is_sequence and key in GRID_SETTINGS)}
    # What a setting holds is checked with everything else, in `compile_request`.
    return Target(name, **{**fitting, **own})  # type: ignore[arg-type]
