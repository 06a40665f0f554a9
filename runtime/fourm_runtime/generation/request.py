"""What a user asks for: values that are given, and streams to predict with their settings."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import attrs

from fourm_schema.errors import Fault, RequestError, nearest

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
    """The beginning of a sequence, given as an input so that the rest of it is generated.

    >>> Prefix("a small")
    Prefix(value='a small')
    """

    value: str


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


SETTINGS = tuple(field.name for field in attrs.fields(Target) if field.name != "stream")


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


TargetsLike = Sequence[str | Target] | Mapping[str, Mapping[str, object]]


def read_targets(targets: TargetsLike, defaults: Mapping[str, object] | None = None) -> tuple[Target, ...]:
    """Turn names, targets, or a mapping of names to settings into targets.

    Args:
        targets: e.g. `["caption", Target("digit", steps=4)]` or `{"caption": {"temperature": 0.3}}`.
        defaults: settings of those that do not say otherwise; None leaves a setting alone.

    Raises:
        RequestError: if a setting is unknown.

    >>> read_targets({"caption": {"temperature": 0.3}})[0].temperature
    0.3
    """
    given = {name: value for name, value in (defaults or {}).items() if value is not None}
    pairs: list[tuple[str | Target, dict[str, object]]] = (
        [(name, dict(settings)) for name, settings in targets.items()]
        if isinstance(targets, Mapping)
        else [(target, {}) for target in targets]
    )
    faults = [
        Fault(
            f"targets.{name}" if name else "targets",
            f"{setting!r} is no setting",
            mend=nearest(setting, SETTINGS),
        )
        for name, settings in [("", given), *pairs]
        for setting in settings
        if setting not in SETTINGS
    ]
    if faults:
        raise RequestFaults(faults)
    return tuple(
        # What a setting holds is checked with everything else, in `compile_request`.
        pair if isinstance(pair, Target) else Target(pair, **{**given, **settings})  # type: ignore[arg-type]
        for pair, settings in pairs
    )
