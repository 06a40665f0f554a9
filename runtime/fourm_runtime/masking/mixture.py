"""How much of what is shown and predicted: the recipe's `masks` and `budget`, and what they come to.

A *component* is one pair of Dirichlet concentrations over the streams, one for what the encoder sees
and one for what the decoder predicts; a *mixture* draws a component per sample. In the recipe they are
written as presets that address streams by role, so that a new modality needs no entry:

    all_to_all   every stream may show and be predicted, in even (large alpha) or lopsided (small) parts
    from         show one stream whole, predict all others
    biased       mostly show one stream, with a little of the rest
    custom       concentrations by stream name

Source: Mizrahi et al. 2023 (4M), https://arxiv.org/abs/2312.06647, section 3.3 and appendix on masking;
the numbers 1000, 5 and 0.05 are those of the published 4M mixtures.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Literal, Self

import attrs
from pydantic import Field, model_validator

from fourm_schema.errors import PlanError, nearest
from fourm_schema.plan import Plan, Stream
from fourm_schema.set_fields import Frozen

Keep = Literal["random", "all", "binary"]
Names = str | list[str]

WHOLE = 1000.0
"""Concentration that gives a stream all of a budget when every other stream has 0."""

Alpha = Annotated[float, Field(gt=0, allow_inf_nan=False)]
AlphaOrZero = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Tokens = Annotated[int, Field(ge=0)]
Range = tuple[Tokens, Tokens]

_KEEP = (
    "share of a sequence that stays visible before it is cut to its budget: drawn evenly (random), "
    "everything (all), or everything or nothing (binary)"
)


@attrs.frozen
class Component:
    """One way to split a sample between the encoder and the decoder.

    Attributes:
        weight: how often it is drawn, relative to the others.
        input_alphas: stream name -> Dirichlet concentration of the visible tokens; a stream that is
            missing, or has 0, gets none.
        target_alphas: the same for the tokens to predict.
        keep: sequence stream -> scheme of its keep probability; `random` where missing.
    """

    weight: float
    input_alphas: Mapping[str, float]
    target_alphas: Mapping[str, float]
    keep: Mapping[str, Keep] = attrs.field(factory=dict)


@attrs.frozen
class Mixture:
    """Components, and the ranges (both ends included) of a sample's visible and predicted tokens."""

    components: tuple[Component, ...]
    input_budget: tuple[int, int]
    target_budget: tuple[int, int]


class BudgetEntry(Frozen):
    """Tokens per sample: a number, or a range `[least, most]` from which each sample draws evenly."""

    input: Tokens | Range = Field(default=256, description="most tokens the encoder sees")
    target: Tokens | Range = Field(default=256, description="most tokens the decoder predicts")

    @model_validator(mode="after")
    def _ranges_ascend(self) -> Self:
        for side, (least, most) in (("input", self.input_range), ("target", self.target_range)):
            if least > most:
                raise ValueError(f"{side} range [{least}, {most}] descends; write [{most}, {least}]")
        return self

    @property
    def input_range(self) -> Range:
        return self.input if isinstance(self.input, tuple) else (self.input, self.input)

    @property
    def target_range(self) -> Range:
        return self.target if isinstance(self.target, tuple) else (self.target, self.target)


class _Preset(Frozen):
    weight: float = Field(
        default=1.0, gt=0, allow_inf_nan=False, description="how often it is drawn, relative to the others"
    )


class AllToAll(_Preset):
    """Every stream may be shown and predicted, all with the same concentration."""

    preset: Literal["all_to_all"] = Field(description="which kind of entry this is")
    alpha: Alpha | list[Alpha] = Field(
        description="concentration: below 1 few streams share a sample, above 1 many do; each value of a "
        "list is a component of its own, with an even part of the weight"
    )
    exclude: list[str] = Field(default=[], description="streams neither shown nor predicted")
    keep: Keep | dict[str, Keep] = Field(
        default="random", description=_KEEP + "; for all sequences, or by stream"
    )


class From(_Preset):
    """Show some streams whole and predict the others."""

    preset: Literal["from"] = Field(description="which kind of entry this is")
    stream: Names = Field(description="stream, or streams, to show whole")
    target_alpha: Alpha = Field(default=0.5, description="concentration of the predicted streams")
    targets: list[str] | None = Field(
        default=None,
        description="streams to predict; all that share no modality with what is shown, when left out",
    )
    exclude: list[str] = Field(default=[], description="streams not predicted")
    keep: Keep | dict[str, Keep] = Field(
        default="all", description=_KEEP + "; for the shown sequences, or by stream"
    )


class Biased(_Preset):
    """Mostly show some streams, with a little of the others, and predict the others."""

    preset: Literal["biased"] = Field(description="which kind of entry this is")
    stream: Names = Field(description="stream, or streams, to favour")
    alpha: Alpha = Field(default=5.0, description="concentration of the favoured streams")
    rest: AlphaOrZero = Field(default=0.05, description="concentration of the other visible streams")
    target_alpha: Alpha = Field(default=0.5, description="concentration of the predicted streams")
    targets: list[str] | None = Field(
        default=None, description="streams to predict; all but the favoured ones, when left out"
    )
    exclude: list[str] = Field(default=[], description="streams neither shown nor predicted")
    keep: Keep | dict[str, Keep] = Field(
        default="all", description=_KEEP + "; for the favoured sequences, or by stream"
    )


class Custom(_Preset):
    """Concentrations by stream; a stream without one is neither shown nor predicted."""

    preset: Literal["custom"] = Field(description="which kind of entry this is")
    input_alphas: dict[str, AlphaOrZero] = Field(description="stream -> concentration of visible tokens")
    target_alphas: dict[str, AlphaOrZero] = Field(description="stream -> concentration of predicted tokens")
    keep: Keep | dict[str, Keep] = Field(
        default="random", description=_KEEP + "; for all sequences, or by stream"
    )


MaskEntry = Annotated[AllToAll | From | Biased | Custom, Field(discriminator="preset")]


def expand(masks: Sequence[MaskEntry], budget: BudgetEntry, plan: Plan) -> Mixture:
    """Turn the recipe's presets into a mixture over the streams of a plan.

    Args:
        masks: entries of the recipe, at least one.
        budget: tokens per sample.
        plan: the streams; names in entries may be stream names or modality names.

    Returns:
        The mixture, all names resolved to stream names.

    Raises:
        PlanError: if an entry names an unknown stream, shows one that is no input, predicts one that is
            no target, or leaves nothing to predict.
    """
    if not masks:
        raise PlanError("masks", "is empty", mend="add an entry, e.g. {preset: all_to_all, alpha: 1.0}")
    components: list[Component] = []
    for number, entry in enumerate(masks):
        made = _components(entry, plan, f"masks[{number}]")
        if not any(made[0].target_alphas.values()):
            raise PlanError(
                f"masks[{number}]",
                "leaves no stream to predict",
                mend="declare a stream whose role is target or both, or name one in `targets`",
            )
        components += made
    return Mixture(tuple(components), budget.input_range, budget.target_range)


def _components(entry: MaskEntry, plan: Plan, where: str) -> list[Component]:
    match entry:
        case AllToAll():
            excluded = _names(plan, entry.exclude, f"{where}.exclude")
            alphas = entry.alpha if isinstance(entry.alpha, list) else [entry.alpha]
            if not alphas:
                raise PlanError(f"{where}.alpha", "is an empty list", mend="give at least one concentration")
            keep = _keep(plan, entry.keep, plan.streams, where)
            return [
                Component(
                    entry.weight / len(alphas),
                    {stream.name: alpha for stream in plan.inputs if stream.name not in excluded},
                    {stream.name: alpha for stream in plan.targets if stream.name not in excluded},
                    keep,
                )
                for alpha in alphas
            ]
        case From():
            shown = _shown(plan, entry.stream, where)
            modalities = {stream.modality for stream in shown}
            others = [stream.name for stream in plan.targets if stream.modality not in modalities]
            inputs = {stream.name: WHOLE for stream in shown}
            targets = _targets(plan, entry.targets, others, entry.exclude, where)
        case Biased():
            shown = _shown(plan, entry.stream, where)
            favoured = {stream.name for stream in shown}
            excluded = _names(plan, entry.exclude, f"{where}.exclude")
            others = [stream.name for stream in plan.targets if stream.name not in favoured]
            inputs = {stream.name: entry.rest for stream in plan.inputs if stream.name not in excluded}
            inputs |= {name: entry.alpha for name in favoured}
            targets = _targets(plan, entry.targets, others, entry.exclude, where)
        case Custom():
            inputs = _by_stream(plan, entry.input_alphas, f"{where}.input_alphas")
            target_alphas = _by_stream(plan, entry.target_alphas, f"{where}.target_alphas")
            _require_inputs(plan, inputs, f"{where}.input_alphas")
            _require_targets(plan, target_alphas, f"{where}.target_alphas")
            keep = _keep(plan, entry.keep, plan.streams, where)
            return [Component(entry.weight, inputs, target_alphas, keep)]
    keep = _keep(plan, entry.keep, shown, where)
    return [Component(entry.weight, inputs, dict.fromkeys(targets, entry.target_alpha), keep)]


def find(plan: Plan, name: str, where: str) -> Stream:
    """Find a stream for a recipe; the error says at which key of the recipe the name stands."""
    try:
        return plan.stream(name)
    except PlanError:
        known = sorted({*plan.names, *(stream.modality for stream in plan.streams)})
        what = "is no stream or modality of this schema"
        raise PlanError(where, what, repr(name), nearest(name, known)) from None


def _names(plan: Plan, names: Iterable[str], where: str) -> set[str]:
    return {find(plan, name, where).name for name in names}


def _by_stream(plan: Plan, values: Mapping[str, float], where: str) -> dict[str, float]:
    return {find(plan, name, where).name: value for name, value in values.items()}


def _shown(plan: Plan, names: Names, where: str) -> list[Stream]:
    listed = [names] if isinstance(names, str) else names
    if not listed:
        raise PlanError(f"{where}.stream", "is an empty list", mend="name the stream to show")
    shown = [find(plan, name, f"{where}.stream") for name in listed]
    _require_inputs(plan, dict.fromkeys((stream.name for stream in shown), WHOLE), f"{where}.stream")
    return shown


def _targets(
    plan: Plan, listed: list[str] | None, others: list[str], exclude: list[str], where: str
) -> list[str]:
    excluded = _names(plan, exclude, f"{where}.exclude")
    if listed is not None:
        others = [find(plan, name, f"{where}.targets").name for name in listed]
        _require_targets(plan, dict.fromkeys(others, 1.0), f"{where}.targets")
    return [name for name in others if name not in excluded]


def _keep(plan: Plan, keep: Keep | dict[str, Keep], streams: Iterable[Stream], where: str) -> dict[str, Keep]:
    if isinstance(keep, dict):
        return {find(plan, name, f"{where}.keep").name: scheme for name, scheme in keep.items()}
    return {stream.name: keep for stream in streams if stream.layout == "sequence"}


def _require_inputs(plan: Plan, alphas: Mapping[str, float], where: str) -> None:
    require(plan, alphas, plan.inputs, "cannot be shown", where)


def _require_targets(plan: Plan, alphas: Mapping[str, float], where: str) -> None:
    require(plan, alphas, plan.targets, "cannot be predicted", where)


def require(
    plan: Plan, alphas: Mapping[str, float], allowed: Sequence[Stream], what: str, where: str
) -> None:
    """Refuse a concentration above zero on a stream whose role does not allow it."""
    names = sorted(stream.name for stream in allowed)
    for name, alpha in alphas.items():
        if alpha and name not in names:
            got = f"{name!r} with role {plan.stream(name).role!r}"
            raise PlanError(where, what, got, f"these can: {', '.join(names) or 'none'}")
