"""How long a request takes on one device: part of `gpu.py`.

One request at a time, in float32, as `AnyToAny` runs a model. Weights are random, so what is generated means
nothing; how much is, is what was asked for.
"""

import statistics
import time
from collections.abc import Mapping

import attrs
import numpy as np
import torch

from dense_draws import build_plan
from fourm_runtime.generation.plan import TargetPlan, compile_request
from fourm_runtime.generation.request import Request, Target
from fourm_runtime.generation.run import Job, run_jobs
from fourm_runtime.generation.samples import Tokens
from fourm_runtime.transformer import AnyToAnyTransformer
from fourm_schema.architecture import Architecture
from fourm_schema.plan import Plan
from gpu_training import fresh_model

CAPTION_TOKENS = 65
SEVERAL = ("tok_depth@224", "tok_normal@224", "tok_semseg@224", "tok_clip@224", "caption")


@attrs.frozen
class Latency:
    """One kind of request.

    Attributes:
        request: in words.
        size: of the model.
        tokens: generated.
        seconds: median over repetitions.
    """

    request: str
    size: str
    tokens: int
    seconds: float


def requests(steps: int, caption_tokens: int) -> Mapping[str, tuple[Target, ...]]:
    """What is asked of a picture, by its description."""
    return {
        f"picture to caption, {caption_tokens} tokens": (Target("caption"),),
        f"picture to depth, MaskGIT in {steps} steps": (Target("tok_depth@224", steps=steps),),
        "picture to four grids (8 steps each) and a caption, each seeing those before": tuple(
            Target(name) for name in SEVERAL
        ),
    }


def measure_generation(
    size: str,
    shape: Architecture,
    device: torch.device,
    repetitions: int,
    steps: int = 25,
    caption_tokens: int = CAPTION_TOKENS,
    most_ids: int | None = None,
) -> list[Latency]:
    """Time each kind of request.

    Args:
        size: name of the size.
        shape: the network.
        device: where.
        repetitions: of each, after one that is not timed.
        steps: of the request that takes many.
        caption_tokens: most ids of a caption.
        most_ids: cut vocabularies, for the smoke run.
    """
    plan = build_plan(own_rows=False, most_ids=most_ids)
    model = fresh_model(plan, shape, device).eval()
    rng = np.random.default_rng(0)
    pixels = plan.stream("rgb@224")
    picture = Tokens.dense(rng.standard_normal((pixels.length, pixels.dense_dim or 0)).astype(np.float32))
    found = []
    for name, targets in requests(steps, caption_tokens).items():
        job = _job(plan, targets, pixels.name, picture, caption_tokens)
        runs = [_timed(model, job, device) for _ in range(1 + repetitions)]
        found.append(Latency(name, size, runs[-1][1], statistics.median(seconds for seconds, _ in runs[1:])))
    return found


def _job(plan: Plan, targets: tuple[Target, ...], shown: str, picture: Tokens, caption_tokens: int) -> Job:
    compiled = compile_request(plan, Request({shown: 1}, targets))
    # A caption has room for more than is asked here.
    steps = tuple(
        attrs.evolve(step, targets=tuple(_shortened(target, caption_tokens) for target in step.targets))
        for step in compiled.steps
    )
    return Job(attrs.evolve(compiled, steps=steps), {shown: picture})


def _shortened(target: TargetPlan, tokens: int) -> TargetPlan:
    return attrs.evolve(target, counts=(tokens,)) if target.scheme == "autoregressive" else target


def _timed(model: AnyToAnyTransformer, job: Job, device: torch.device) -> tuple[float, int]:
    start = time.perf_counter()
    (made,) = run_jobs(model, [job])
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start, sum(len(one.ids) for one in made.values())
