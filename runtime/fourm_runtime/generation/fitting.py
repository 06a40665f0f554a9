"""Whether a plan that was compiled before fits a model and what a request gives."""

from collections.abc import Iterator

from fourm_runtime.generation.plan import GenerationPlan, TargetPlan
from fourm_runtime.generation.request import Prefix, Request, input_stream
from fourm_schema.errors import Fault
from fourm_schema.plan import Plan


def misfits(plan: Plan, compiled: GenerationPlan, request: Request) -> list[Fault]:
    """Say why a compiled plan cannot run for a request; empty if it can.

    Args:
        plan: streams of the model.
        compiled: what is to run; perhaps compiled for another model.
        request: what is given; its targets and settings are not looked at, the plan has them.
    """
    return [*_unknown(plan, compiled), *_ungiven(plan, compiled, request)]


def _unknown(plan: Plan, compiled: GenerationPlan) -> Iterator[Fault]:
    mend = "compile the request for this model"
    for name, stream in compiled.inputs.items():
        if stream not in plan.names:
            yield Fault(f"plan.inputs.{name}", "the model has no such stream", stream, mend)
    for target in compiled.targets:
        where = f"plan.targets.{target.stream}"
        if target.stream not in plan.names:
            yield Fault(where, "the model has no such stream", mend=mend)
            continue
        length = plan.stream(target.stream).length
        if (plan.stream(target.stream).layout == "sequence") != (target.scheme == "autoregressive"):
            yield Fault(where, f"{target.scheme} does not generate it", mend=mend)
        elif not _has_tokens(target, length):
            yield Fault(where, f"it has {length} tokens", f"a plan for {sum(target.counts)}", mend)


def _has_tokens(target: TargetPlan, length: int) -> bool:
    """A grid has exactly as many tokens; a sequence may be planned shorter."""
    most = sum(target.counts)
    return 1 <= most <= length if target.scheme == "autoregressive" else most == length


def _ungiven(plan: Plan, compiled: GenerationPlan, request: Request) -> Iterator[Fault]:
    given: dict[str, str] = {}
    begun: dict[str, str] = {}
    for name, value in request.given.items():
        stream = input_stream(plan, name)
        part = begun if isinstance(value, Prefix) else given
        part[name if stream is None else stream.name] = name
    where = f"request {request.index}, inputs"
    wanted = set(compiled.inputs.values())
    continued = {target.stream for target in compiled.targets if target.continued}
    for name in sorted(wanted - set(given)):
        yield Fault(where, f"the plan needs {name}, which is not given", mend="give it, or compile anew")
    for stream_name, name in given.items():
        if stream_name not in wanted:
            yield Fault(
                f"{where}.{name}", "the plan makes no use of it", mend="leave it out, or compile anew"
            )
    for name in sorted(continued - set(begun)):
        yield Fault(where, f"the plan continues {name}, whose beginning is not given", mend="compile anew")
    for stream_name, name in begun.items():
        if stream_name not in continued:
            yield Fault(f"{where}.{name}", "the plan does not continue it", mend="compile anew")
