"""Generation over 4M's own way to generate: the same weights, the same tokens.

    python bench/generate.py [--only NAME] [--pairs N] [--json] [--quick]

A 4M-21 model of size tiny (width 384, 6 + 6 blocks, 6 heads, gated, no biases, heads of their own: what
`fourm import 4m` gives) with random weights generates from a photograph, in float32 on one thread of a CPU.
Ours is `run_jobs` over compiled plans; the other side is 4M's sampler over 4M's own padded model
(`bench/dense_generation.py`). The two take turns; a pair is a turn of each, a ratio the dense CPU seconds
over ours; the median over pairs is reported. Both must give the same tokens:

    texts         greedily; the end token is not forbidden, but random weights hardly ever say it
    random order  greedily, over one order of the cells that both are given
    MaskGIT       drawn at temperature 1 from the likeliest ids that make up 0.8, as 4M's demo does, with the
                  same random numbers on both sides and the same rule of which cells are kept: at temperature
                  0 4M is equally sure of all cells, and which it keeps is left to a sorting routine

    caption, caption-guided, caption-batch  65 tokens, of 1 or 8 photographs
    maskgit                                 depth, 196 cells in 25 steps
    roar, roar-guided                       depth in 49 steps
    fourteen          4M's demo: 8 grids in one step each, guided by 2, then 6 texts; all from the photograph
                      alone, as `chain=False` asks for. Texts have half of the demo's lengths (the dense side
                      takes minutes for the whole), those of at most 40 tokens all of it; greedily throughout
    fourteen-chained  the same, each target seeing those before it, texts at a quarter; only if asked for

In each step of a grid both sides multiply the same matrices, all but the keys and values of the context, so
there the ratio cannot be large, and it falls where other work takes the caches: their promises were not
kept on the machine this was written on (docs/generation.md). Exit status 1 if tokens
differ or a promise is broken. `--quick` takes a small model and short texts, to see that the two sides agree:
nothing is promised of it.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np
import torch

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in (".", "codecs", "runtime", "bench")]

from dense_generation import DenseSampler, DenseTarget, given_pixels  # noqa: E402 - path set above
from dense_model import DenseModel  # noqa: E402 - path set above
from fourm_runtime.assemble import empty_model, initialise  # noqa: E402 - path set above
from fourm_runtime.batch import Float32  # noqa: E402 - path set above
from fourm_runtime.generation.plan import GenerationPlan, compile_request  # noqa: E402 - path set above
from fourm_runtime.generation.request import Request, Target, target_stream  # noqa: E402 - path set above
from fourm_runtime.generation.run import Job, run_jobs  # noqa: E402 - path set above
from fourm_runtime.generation.samples import Tokens  # noqa: E402 - path set above
from fourm_runtime.released.schema import released_schema  # noqa: E402 - path set above
from fourm_runtime.transformer import AnyToAnyTransformer  # noqa: E402 - path set above
from fourm_schema.allocation import allocate  # noqa: E402 - path set above
from fourm_schema.architecture import Architecture  # noqa: E402 - path set above
from fourm_schema.resolve import resolve  # noqa: E402 - path set above
from pairs import interleave  # noqa: E402 - path set above

MAPS = ("clip", "dinov2", "imagebind", "depth", "normal", "semseg", "canny_edge", "sam_edge")
GRIDS = tuple(f"tok_{name}@224" for name in MAPS)
TEXTS = {
    "caption": 256,
    "det": 256,
    "human_poses": 275,
    "sam_instance": 256,
    "color_palette": 23,
    "metadata": 40,
}
"""4M's demo generates them in this order, at most so long."""
OUTPUTS = (*GRIDS, "tok_rgb@224", "tok_dinov2_global", "tok_imagebind_global", *TEXTS)
INPUTS = (*OUTPUTS, "rgb@224", "t5_caption")
SHORT = 40
"""Texts of the demo that are never cut."""


@attrs.frozen
class Scale:
    """How large everything is.

    Attributes:
        architecture: of the network.
        caption: tokens of a caption.
        maskgit_steps, roar_steps: of a grid.
        share: of the demo's lengths that its texts get.
    """

    architecture: Architecture
    caption: int
    maskgit_steps: int
    roar_steps: int
    share: float


def shape(dim: int, heads: int, depth: int) -> Architecture:
    """The architecture of an imported model: see `fourm_runtime.released.config`."""
    return Architecture(
        dim=dim,
        heads=heads,
        encoder_depth=depth,
        decoder_depth=depth,
        norm_bias=False,
        tie_head=False,
        stored_positions=True,
        null_is_silent=True,
    )


FULL = Scale(shape(384, 6, 6), caption=65, maskgit_steps=25, roar_steps=49, share=0.5)
QUICK = Scale(shape(32, 2, 1), caption=6, maskgit_steps=3, roar_steps=3, share=0.03)


@attrs.frozen
class Case:
    """One thing to generate.

    Attributes:
        targets: what, in order.
        promise: the ratio that must be reached; None promises nothing.
        pairs: at most so many of them, where one takes long.
        batch: photographs side by side.
        chain: targets see those before them.
        lengths: tokens of texts, by name; others have their own.
        by_default: runs without being asked for.
    """

    targets: tuple[Target, ...]
    promise: float | None = None
    pairs: int = 99
    batch: int = 1
    chain: bool = False
    lengths: Mapping[str, int] = attrs.field(factory=dict)
    by_default: bool = True


def cases(scale: Scale) -> dict[str, Case]:
    """Everything that is measured, by name."""
    order = tuple(np.random.default_rng(0).permutation(196).tolist())

    def text(guidance: float = 1.0) -> tuple[Target, ...]:
        return (Target("caption", temperature=0.0, guidance=guidance),)

    def roar(guidance: float = 1.0) -> tuple[Target, ...]:
        settings = {"scheme": "roar", "steps": scale.roar_steps, "order": order, "temperature": 0.0}
        return (Target("tok_depth@224", guidance=guidance, **settings),)  # type: ignore[arg-type]  # names above

    maskgit = Target("tok_depth@224", "maskgit", steps=scale.maskgit_steps, temperature=1.0, top_p=0.8)
    grids = [Target(name, "roar", steps=1, temperature=0.0, guidance=2.0) for name in GRIDS]
    fourteen = (*grids, *(Target(name, temperature=0.0) for name in TEXTS))

    def part(share: float) -> dict[str, int]:
        return {name: most if most <= SHORT else round(most * share) for name, most in TEXTS.items()}

    short = {"caption": scale.caption}
    return {
        "caption": Case(text(), promise=3.5, lengths=short),
        "caption-guided": Case(text(2.0), promise=6.0, lengths=short),
        "caption-batch": Case(text(), pairs=1, batch=8, lengths=short),
        "maskgit": Case((maskgit,), promise=2.0),
        "roar": Case(roar(), promise=1.3),
        "roar-guided": Case(roar(2.0), promise=1.5),
        "fourteen": Case(fourteen, promise=8.0, pairs=1, lengths=part(scale.share)),
        "fourteen-chained": Case(
            fourteen, pairs=1, chain=True, lengths=part(scale.share / 2), by_default=False
        ),
    }


class Sides:
    """The same model, run by us and as 4M runs it.

    Args:
        scale: how large it is.
    """

    def __init__(self, scale: Scale) -> None:
        self.plan = resolve(released_schema(INPUTS, OUTPUTS))
        # Not `assemble`: it refuses streams that cannot be trained yet, as `t5_caption`.
        self.model: AnyToAnyTransformer = empty_model(self.plan, allocate(self.plan), scale.architecture)
        initialise(self.model, 0)
        self.model.eval()
        self._dense = DenseSampler(DenseModel(self.model).eval(), self.plan)

    def photographs(self, count: int) -> Float32:
        """Random normalised pixels in patches."""
        rng = np.random.default_rng(1)
        return rng.standard_normal((count, 196, 768)).astype(np.float32)

    def compiled(self, case: Case) -> GenerationPlan:
        """Our plan, with its texts cut to their lengths."""
        plan = compile_request(self.plan, Request({"rgb@224": True}, case.targets, case.chain))
        lengths = {self._stream(name): length for name, length in case.lengths.items()}
        steps = [
            attrs.evolve(
                step,
                targets=tuple(
                    attrs.evolve(target, counts=(lengths[target.stream],))
                    if target.stream in lengths
                    else target
                    for target in step.targets
                ),
            )
            for step in plan.steps
        ]
        return attrs.evolve(plan, steps=tuple(steps))

    def _stream(self, name: str) -> str:
        return target_stream(self.plan, name).name  # type: ignore[union-attr]  # every name here has one

    def ours(self, case: Case) -> Callable[[], list[dict[str, list[int]]]]:
        """What to time of our side. One sample: stream name -> ids."""
        plan = self.compiled(case)
        shown = [{"rgb.pixels": Tokens.dense(values)} for values in self.photographs(case.batch)]
        jobs = [Job(plan, shows) for shows in shown]

        def run() -> list[dict[str, list[int]]]:
            made = run_jobs(self.model, jobs)
            return [{name: one.ids.tolist() for name, one in sample.items()} for sample in made]

        return run

    def dense(self, case: Case) -> Callable[[], list[dict[str, list[int]]]]:
        """What to time of the other side."""
        guidance = {self._stream(target.stream): target.guidance for target in case.targets}
        targets: list[DenseTarget] = []
        for step in self.compiled(case).steps:
            for target in step.targets:
                weight = guidance[target.stream]
                assert isinstance(weight, float), "no case here weighs its conditions one by one"
                targets.append(DenseTarget(target, weight, step.sees))
        photographs = torch.from_numpy(self.photographs(case.batch))

        def run() -> list[dict[str, list[int]]]:
            with torch.inference_mode():
                made = self._dense.generate({"rgb.pixels": given_pixels(photographs)}, targets, case.chain)
            return [
                {name: self._cut(name, ids[row].tolist()) for name, ids in made.items()}
                for row in range(case.batch)
            ]

        return run

    def _cut(self, name: str, ids: list[int]) -> list[int]:
        """A text to its end token."""
        stream = self.plan.stream(name)
        if stream.layout == "grid":
            return ids
        return ids[: ids.index(self.plan.special(stream).end) + 1]


@attrs.frozen
class Timing:
    """One case.

    Attributes:
        case: its name.
        ratio: median over pairs of dense over our CPU time.
        low, high: the smallest and the largest of those ratios.
        ours_s, dense_s: median CPU seconds.
        pairs: how many.
        tokens: generated by either side.
        same: whether these were the same.
        promise: as in `Case`.
    """

    case: str
    ratio: float
    low: float
    high: float
    ours_s: float
    dense_s: float
    pairs: int
    tokens: int
    same: bool
    promise: float | None

    @property
    def kept(self) -> bool:
        return self.same and (self.promise is None or self.ratio >= self.promise)

    def __str__(self) -> str:
        promise = "" if self.promise is None else f", promised {self.promise:g}"
        tokens = f"{self.tokens} tokens {'equal' if self.same else 'DIFFER'}"
        spread = f"({self.low:.2f} to {self.high:.2f}, pairs {self.pairs}{promise})"
        return (
            f"{self.case:17} ratio {self.ratio:6.2f} {spread}"
            f"  dense {self.dense_s:6.2f} s  ours {self.ours_s:6.2f} s  {tokens}"
        )


def measure(sides: Sides, name: str, case: Case, pairs: int) -> Timing:
    """Time both sides in turn."""
    ours, dense = sides.ours(case), sides.dense(case)
    found: list[list[dict[str, list[int]]]] = []
    ways = {"dense": lambda: found.append(dense()), "ours": lambda: found.append(ours())}
    times = interleave(ways, min(pairs, case.pairs), warm=False)
    return Timing(
        name,
        times.ratio,
        times.low,
        times.high,
        times.cpu("ours"),
        times.cpu("dense"),
        len(times.cpu_s["ours"]),
        sum(len(ids) for sample in found[0] for ids in sample.values()),
        all(one == found[0] for one in found),
        case.promise,
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and say whether all is as promised."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", action="append", choices=list(cases(FULL)), help="this case; may be repeated"
    )
    parser.add_argument("--pairs", type=int, default=3, help="pairs of each case, of long ones 1 (default 3)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="a small model and short texts; no promise")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    sides = Sides(QUICK if given.quick else FULL)
    wanted = {
        name: case
        for name, case in cases(QUICK if given.quick else FULL).items()
        if (name in given.only if given.only else case.by_default)
    }
    # What is imported and set up at the first call is not what is measured.
    warm = attrs.evolve(next(iter(cases(QUICK).values())), promise=None)
    measure(sides, "warm", warm, 1)
    timings = []
    for name, case in wanted.items():
        timings.append(
            measure(sides, name, attrs.evolve(case, promise=None) if given.quick else case, given.pairs)
        )
        if not given.json:
            print(timings[-1], flush=True)
    if given.json:
        print(json.dumps([attrs.asdict(timing) for timing in timings]))
    return int(not all(timing.kept for timing in timings))


if __name__ == "__main__":
    sys.exit(main())
