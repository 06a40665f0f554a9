"""From a request to a plan that can be read and run; all its faults are found before weights load."""

from collections.abc import Iterable, Iterator, Mapping

import attrs

from fourm_runtime.generation.combine import COMBINES, Combine
from fourm_runtime.generation.request import (
    Prefix,
    Request,
    RequestFaults,
    Scheme,
    Target,
    input_stream,
    target_stream,
)
from fourm_runtime.generation.sampling import Sampling
from fourm_runtime.generation.settings import SettingsCheck
from fourm_schema.errors import Fault, nearest
from fourm_schema.plan import Plan, Stream


@attrs.frozen
class Pass:
    """One of the forward passes whose scores are summed.

    Attributes:
        weight: what its scores are multiplied with; the weights of a target sum to 1.
        shows: streams that the encoder sees, besides the target's own tokens.
    """

    weight: float
    shows: tuple[str, ...]


@attrs.frozen
class TargetPlan:
    """How one stream will be generated.

    Attributes:
        stream: its name.
        scheme: how tokens are chosen.
        counts: tokens that each step fixes; for a sequence, the most tokens it can get.
        sampling: how tokens are drawn, step by step; one entry for a sequence.
        passes: forward passes per step; more than one under guidance.
        guidance: the guidance in words, empty when there is none.
        continued: the sequence begins with a given prefix.
        order: cells of the grid in the order in which they are fixed; empty where the scheme chooses.
        samples, combine: how many are drawn, and how one is made of them.
    """

    stream: str
    scheme: Scheme
    counts: tuple[int, ...]
    sampling: tuple[Sampling, ...]
    passes: tuple[Pass, ...]
    guidance: str = ""
    continued: bool = False
    order: tuple[int, ...] = ()
    samples: int = 1
    combine: Combine = "best"

    @property
    def joined(self) -> bool:
        """Whether the result is several samples end to end."""
        return self.samples > 1 and self.combine == "join"

    def __str__(self) -> str:
        if self.scheme == "autoregressive":
            size = f"at most {self.counts[0]} tokens" + (", after the given prefix" if self.continued else "")
        else:
            size = f"{sum(self.counts)} tokens in {len(self.counts)} steps ({_runs(self.counts)})"
        how = self.sampling[0]
        heat = dict.fromkeys(f"{step.temperature:.3g}" for step in self.sampling)
        size += ", in a given order" if self.order else ""
        parts = [self.scheme, size, "temperature " + " to ".join(list(heat)[:: max(1, len(heat) - 1)])]
        parts += [f"top-k {how.top_k}"] if how.top_k else []
        parts += [f"top-p {how.top_p:g}"] if how.top_p < 1 else []
        parts += [self.guidance] if self.guidance else []
        parts += [f"{self.samples} samples, {COMBINES[self.combine]}"] if self.samples > 1 else []
        return f"{self.stream}: {', '.join(parts)}"


@attrs.frozen
class Step:
    """Targets that are generated side by side, none of which sees another.

    Attributes:
        targets: what is generated.
        sees: streams that feed them.
    """

    targets: tuple[TargetPlan, ...]
    sees: tuple[str, ...]


@attrs.frozen
class GenerationPlan:
    """What will run for a request. `str(plan)` explains it.

    Attributes:
        inputs: name that the request uses -> stream that it feeds.
        steps: what is generated, in order.
    """

    inputs: dict[str, str]
    steps: tuple[Step, ...]

    @property
    def targets(self) -> tuple[TargetPlan, ...]:
        return tuple(target for step in self.steps for target in step.targets)

    def __str__(self) -> str:
        lines = [f"inputs: {', '.join(self.inputs.values()) or 'none'}"]
        for number, step in enumerate(self.steps, start=1):
            lines.append(f"step {number} sees {', '.join(step.sees) or 'nothing'}")
            lines += [f"  {target}" for target in step.targets]
        return "\n".join(lines)


def _runs(counts: tuple[int, ...]) -> str:
    """Write counts, saying a run of equal ones once.

    >>> _runs((3, 3, 3, 2))
    '3 x 3, 2'
    """
    runs: list[tuple[int, int]] = []
    for count in counts:
        again = runs[-1][0] + 1 if runs and runs[-1][1] == count else 1
        runs[-1:] = [(again, count)] if again > 1 else [*runs[-1:], (1, count)]
    return ", ".join(f"{times} x {count}" if times > 1 else str(count) for times, count in runs)


def compile_request(plan: Plan, request: Request) -> GenerationPlan:
    """Check a request and lay out what will run for it.

    Raises:
        RequestError: if something cannot be given, predicted or done; it carries every such fault.
    """
    compiler = _Compiler(plan, request)
    compiled = compiler.run()
    if compiler.faults:
        raise RequestFaults(compiler.faults)
    return compiled


class _Compiler:
    def __init__(self, plan: Plan, request: Request) -> None:
        self.plan, self.request = plan, request
        self.faults: list[Fault] = []
        self.inputs: dict[str, Stream] = {}
        self.prefixes: set[str] = set()

    def fault(self, where: str, what: str, got: str = "", mend: str = "") -> None:
        self.faults.append(Fault(where, what, got, mend))

    def run(self) -> GenerationPlan:
        self._read_inputs()
        wanted = list(self._read_targets())
        if not self.request.targets:
            names = ", ".join(s.name for s in self.plan.targets)
            self.fault("targets", "nothing is asked for", mend=f"name one or more of: {names}")
        self._check_overlap([stream for _, stream in wanted])
        sees = [stream.name for stream in self.inputs.values()]
        steps: list[Step] = []
        for target, stream in wanted:
            step = Step((self._plan_target(target, stream, tuple(sees)),), tuple(sees))
            if self.request.chain or not steps:
                steps.append(step)
            else:
                steps[-1] = attrs.evolve(steps[-1], targets=(*steps[-1].targets, *step.targets))
            # Joined samples are longer than what the model was trained to see.
            if self.request.chain and not step.targets[0].joined:
                sees.append(stream.name)
        return GenerationPlan({name: stream.name for name, stream in self.inputs.items()}, tuple(steps))

    def _names(self, streams: Iterable[Stream]) -> list[str]:
        return list(dict.fromkeys(n for s in streams for n in (s.modality, s.name)))

    def _read_inputs(self) -> None:
        for name, value in self.request.given.items():
            where = f"inputs.{name}"
            stream = input_stream(self.plan, name)
            if stream is None:
                self.fault(
                    where, "is no stream or modality", mend=nearest(name, self._names(self.plan.inputs))
                )
            elif isinstance(value, Prefix):
                self._read_prefix(name, stream)
            elif not stream.can_be_input:
                self.fault(
                    where,
                    f"{stream.name} has role {stream.role} and cannot be given",
                    mend="set its role to both in the schema, and train again",
                )
            elif stream in self.inputs.values():
                self.fault(where, f"{stream.name} is given twice", mend="give it under one name")
            else:
                self.inputs[name] = stream

    def _read_prefix(self, name: str, stream: Stream) -> None:
        where = f"inputs.{name}"
        if stream.layout != "sequence":
            self.fault(
                where,
                "only a text or a set can be given in part",
                got=f"{stream.name}, of kind {stream.kind}",
            )
            return
        wanted = {getattr(target_stream(self.plan, t.stream), "name", None) for t in self.request.targets}
        if stream.name not in wanted:
            self.fault(where, "a prefix is continued by generating it", mend=f"add {name} to the targets")
        self.prefixes.add(stream.name)

    def _read_targets(self) -> Iterator[tuple[Target, Stream]]:
        seen: set[str] = set()
        for target in self.request.targets:
            where = f"targets.{target.stream}"
            stream = target_stream(self.plan, target.stream)
            if stream is None:
                known = self._names(self.plan.targets)
                self.fault(where, "is no stream or modality", mend=nearest(target.stream, known))
            elif stream.is_dense:
                self.fault(
                    where,
                    f"{stream.name} is dense, and only tokens can be generated",
                    mend=f"add tokens to `shown` of {stream.modality} in the schema, and train again",
                )
            elif not stream.can_be_target:
                self.fault(
                    where,
                    f"{stream.name} has role {stream.role} and cannot be generated",
                    mend="set its role to both in the schema, and train again",
                )
            elif stream.name in seen:
                self.fault(where, f"{stream.name} is asked for twice", mend="ask for it once")
            else:
                seen.add(stream.name)
                yield target, stream

    def _check_overlap(self, wanted: list[Stream]) -> None:
        """A value that is known cannot be asked for; naming two streams of it says that one is meant to give
        the other."""
        for name, given in self.inputs.items():
            for stream in wanted:
                named = name == given.name and any(t.stream == stream.name for t in self.request.targets)
                if stream.name == given.name or (stream.modality == given.modality and not named):
                    self.fault(
                        f"targets.{stream.name}",
                        f"{given.modality} is already given",
                        got=f"input {name}",
                        mend=f"drop one of the two, or name streams: input {given.name}, target {stream.name}"
                        if stream.name != given.name
                        else "drop one of the two",
                    )

    def _plan_target(self, target: Target, stream: Stream, sees: tuple[str, ...]) -> TargetPlan:
        check = SettingsCheck(target, stream, self.fault)
        scheme, counts, sampling = check.read()
        samples, combine = check.samples()
        passes, words = self._passes(target, sees)
        return TargetPlan(
            stream.name,
            scheme,
            counts,
            sampling,
            passes,
            words,
            continued=stream.name in self.prefixes,
            order=check.order(),
            samples=samples,
            combine=combine,
        )

    def _passes(self, target: Target, sees: tuple[str, ...]) -> tuple[tuple[Pass, ...], str]:
        """The passes whose weighted sum is u + w (c - u), or u + sum of w_i (c_i - u)."""
        where = f"targets.{target.stream}"
        weights = target.guidance
        whole = (Pass(1.0, sees),)
        if isinstance(weights, Mapping) and target.conditions is not None:
            self.fault(
                where, "conditions are given twice", mend="leave `conditions` out: `guidance` names them"
            )
            return whole, ""
        if not isinstance(weights, Mapping):
            if not _is_finite(weights):
                self.fault(where, "guidance is a finite number", got=repr(weights))
                return whole, ""
            if weights == 1:
                return whole, ""
        names = list(weights) if isinstance(weights, Mapping) else target.conditions
        dropped = self._conditions(where, names, sees)
        if not dropped:
            if not any(fault.where == where and "condition" in fault.what for fault in self.faults):
                self.fault(
                    where,
                    "guidance needs a condition, and nothing is given",
                    mend="give an input, or leave guidance at 1",
                )
            return whole, ""
        rest = tuple(name for name in sees if name not in dropped.values())
        if not isinstance(weights, Mapping):
            weight = float(weights)
            words = f"guidance {weight:g} by {', '.join(dropped.values())}"
            return (Pass(weight, sees), Pass(1 - weight, rest)), words
        for name, weight in weights.items():
            if not _is_finite(weight):
                self.fault(where, f"guidance by {name} is a finite number", got=repr(weight))
                return whole, ""
        words = "guidance " + ", ".join(f"{weights[name]:g} by {stream}" for name, stream in dropped.items())
        single = [
            Pass(float(weights[name]), tuple(s for s in sees if s in rest or s == stream))
            for name, stream in dropped.items()
        ]
        return (*single, Pass(1 - sum(p.weight for p in single), rest)), words

    def _conditions(self, where: str, names: Iterable[str] | None, sees: tuple[str, ...]) -> dict[str, str]:
        """Name as written -> stream that the pass without conditions lacks."""
        if names is None:
            return {name: name for name in sees}
        known = {**{name: name for name in sees}, **{n: s.name for n, s in self.inputs.items()}}
        for name in sees:
            stream = self.plan.stream(name)
            for other in (stream.modality, *stream.aliases):
                known.setdefault(other, name)
        found = {}
        for name in names:
            if name in known:
                found[name] = known[name]
            else:
                self.fault(
                    where,
                    f"condition {name!r} is no input or earlier target",
                    mend=nearest(name, list(known)),
                )
        return found


def _is_finite(number: object) -> bool:
    return isinstance(number, int | float) and not isinstance(number, bool) and abs(number) < float("inf")
