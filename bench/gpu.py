"""What one GPU does with this code: is it right, is it fast, and what it is spent on.

    python bench/gpu.py [--size base --size large] [--minutes 8] [--json] [--out FILE]

    checks      attention forward and backward against an explicit softmax in float64, for every kind of
                block of a training step, in bfloat16 and float32, called directly and as the opaque operator;
                blocks are compiled once, whatever their lengths, and compute what they did; a training step,
                from packed batch to updated weights, never waits for the GPU (`set_sync_debug_mode`)
    training    steps over the modalities of 4M-21 with its mixture of masks, at most 256 + 256 tokens each,
                bfloat16, fused AdamW, eager and compiled: samples/s, tokens/s, memory, and the share of the
                arithmetic peak that is spent on real tokens (MFU; `gpu_training.py` says how it counts), both
                of the nominal 989 TFLOP/s of an H100 or H200 and of a large product measured first
    generation  latency of single requests

A size that does not fit is tried with half the samples, and left out with the reason if none fit. It needs
no dataset and no Lance. Under eight minutes on one H100; sizes that would begin too late for `--minutes` are
left out. Without a GPU the same script is a smoke run on a tiny network, and its figures are no measurements.
Exit status 1 if a check fails, or a part of it does not run.
"""

import argparse
import json
import math
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import attrs
import torch

sys.path[:0] = [str(Path(__file__).parents[1] / folder) for folder in (".", "codecs", "runtime")]

from fourm_runtime.attention import operator_name  # noqa: E402 - path set above
from fourm_schema.architecture import Architecture, architecture  # noqa: E402 - path set above
from gpu_attention import attention_errors  # noqa: E402 - path set above
from gpu_generation import Latency, measure_generation  # noqa: E402 - path set above
from gpu_training import Steps, compile_once, measure_steps, product_peak  # noqa: E402 - path set above

SAMPLES = {"base": 128, "large": 64, "xlarge": 16}
"""Of a step, at first."""

ROOM = 1.5
"""Minutes that a size and what follows it take."""

SMOKE = Architecture(dim=64, heads=2, encoder_depth=1, decoder_depth=1)
SAME = 1e-3
"""Relative difference of compiled and eager gradients in float32: sums in another order."""


@attrs.frozen
class Check:
    """Something that must hold."""

    name: str
    kept: bool
    detail: str


@attrs.frozen
class Report:
    """Everything that one run found.

    Attributes:
        device: in words.
        smoke: there was no GPU: figures are no measurements.
        torch_version: of PyTorch.
        kernels: dtype -> forward kernel of attention.
        peak_tflops: of a large bfloat16 product, 10^12 FLOP/s.
        checks, steps, latencies: see the classes.
        notes: what was left out, and why.
        seconds: of the whole run.
    """

    device: str
    smoke: bool
    torch_version: str
    kernels: dict[str, str]
    peak_tflops: float
    checks: list[Check]
    steps: list[Steps]
    latencies: list[Latency]
    notes: list[str]
    seconds: float

    @property
    def kept(self) -> bool:
        """Whether every check holds."""
        return all(check.kept for check in self.checks)


def checks_of_attention(device: torch.device, smoke: bool) -> list[Check]:
    """One check per kind of block and dtype, both ways in one."""
    dtypes = (torch.float32, torch.bfloat16)
    found = attention_errors(device, dtypes, scale=40 if smoke else 300)
    checks = []
    for kind, dtype in dict.fromkeys((one.kind, one.dtype) for one in found):
        both = [one for one in found if (one.kind, one.dtype) == (kind, dtype)]
        detail = ", ".join(f"{one.way} {one.error:.1e}" for one in both) + f" (allowed {both[0].allowed:.0e})"
        detail += "".join(f"; {one.way}: {_line(one.fault)}" for one in both if one.fault)
        checks.append(Check(f"attention {kind}, {dtype}", all(one.kept for one in both), detail))
    return checks


def check_of_compiling(device: torch.device, smoke: bool) -> Check:
    """Whether new lengths compile nothing, and compiled is eager."""
    shape = SMOKE if smoke else architecture("nano")
    graphs, error = compile_once(device, shape, samples=(2, 3, 5) if smoke else (4, 7, 3, 9))
    kept = graphs[0] > 0 and len(set(graphs)) == 1 and error < SAME
    detail = (
        f"graphs after each batch {graphs}, largest difference of a gradient {error:.1e} (allowed {SAME:.0e})"
    )
    return Check("blocks are compiled once, and compute what they did", kept, detail)


@attrs.define
class Findings:
    """What there is so far."""

    checks: list[Check] = attrs.field(factory=list)
    steps: list[Steps] = attrs.field(factory=list)
    latencies: list[Latency] = attrs.field(factory=list)
    notes: list[str] = attrs.field(factory=list)

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Go on if this part fails: what the others find is worth having."""
        try:
            yield
        except Exception as fault:
            traceback.print_exc()
            self.checks.append(Check(f"{name} runs", False, f"{type(fault).__name__}: {_line(str(fault))}"))


def run(sizes: Sequence[str], minutes: float) -> Report:
    """Check, then measure."""
    start, smoke = time.perf_counter(), not torch.cuda.is_available()
    device, found, peak = torch.device("cpu" if smoke else "cuda:0"), Findings(), math.nan
    kernels: dict[str, str] = {}
    with found.part("attention"):
        for dtype in (torch.float32, torch.bfloat16):
            kernels[str(dtype).removeprefix("torch.")] = operator_name(device, dtype)
        found.checks += checks_of_attention(device, smoke)
    with found.part("compiling"):
        found.checks.append(check_of_compiling(device, smoke))
    with found.part("a large product"):
        peak = product_peak(device, 256 if smoke else 8192)
    for size in ("smoke",) if smoke else sizes:
        spent = (time.perf_counter() - start) / 60
        if spent > minutes - ROOM and not smoke:
            found.notes.append(f"{size}: left out after {spent:.1f} minutes")
            continue
        shape, samples = (SMOKE, 2) if smoke else (architecture(size), SAMPLES[size])
        with found.part(f"training of {size}"):
            for one in measure_steps(size, shape, samples, device, peak, 2 if smoke else 9, small=smoke):
                if isinstance(one, str):
                    found.notes.append(one)
                    continue
                found.steps.append(one)
                waits = f"a step of {one.size}, {one.way}, waits for nothing"
                found.checks.append(Check(waits, not one.waits, one.waits))
    with found.part("generation"):
        found.latencies += (
            measure_generation("smoke", SMOKE, device, 1, steps=2, caption_tokens=4, most_ids=600)
            if smoke
            else measure_generation("base", architecture("base"), device, 3)
        )
    return Report(
        device="cpu" if smoke else torch.cuda.get_device_name(device),
        smoke=smoke,
        torch_version=torch.__version__,
        kernels=kernels,
        peak_tflops=peak / 1e12,
        seconds=time.perf_counter() - start,
        **{name: getattr(found, name) for name in ("checks", "steps", "latencies", "notes")},
    )


def _line(text: str) -> str:
    """One line that a table can hold."""
    return " ".join(text.split()).replace("|", "/")[:200]


def markdown(report: Report) -> str:
    """The report as Markdown tables."""
    lines = ["# One GPU", ""]
    if report.smoke:
        lines += ["**SMOKE RUN: no GPU here. The script runs; its figures are no measurements.**", ""]
    kernels = ", ".join(f"{name} by {dtype}" for dtype, name in report.kernels.items())
    lines += [
        f"{report.device}, PyTorch {report.torch_version}, attention {kernels}; a large bfloat16 product "
        f"runs at {report.peak_tflops:.3g} TFLOP/s; {report.seconds:.0f} s in all.",
        "",
        "| check | holds | found |",
        "|---|---|---|",
        *(f"| {c.name} | {'yes' if c.kept else '**NO**'} | {c.detail or '-'} |" for c in report.checks),
        "",
        "| size | way | parameters | samples | tokens each | s/step | samples/s | tokens/s | TFLOP/s "
        "| MFU of 989 | MFU of measured | GB | first step s |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
        *map(_row, report.steps),
        "",
    ]
    by_way = {(one.size, one.way): one for one in report.steps}
    for (size, way), one in by_way.items():
        if way == "compiled" and (eager := by_way.get((size, "eager"))) and eager.samples == one.samples:
            lines.append(f"{size}: compiled is {eager.seconds / one.seconds:.2f} times as fast as eager.")
    lines += ["", "| request | size | tokens | s | ms per token |", "|---|---|---|---|---|"]
    lines += [_latency(one) for one in report.latencies]
    lines += ["", *(f"- {note}" for note in report.notes)]
    return "\n".join(lines).rstrip() + "\n"


def _row(s: Steps) -> str:
    memory = "-" if s.gigabytes is None else f"{s.gigabytes:.1f}"
    return (
        f"| {s.size} | {s.way} | {s.parameters / 1e6:.1f} M | {s.samples} | {s.tokens:.0f} | {s.seconds:.4f} "
        f"| {s.samples_per_s:.1f} | {s.tokens_per_s:.0f} | {s.tflops:.3g} | {s.mfu:.1%} "
        f"| {s.mfu_measured:.1%} | {memory} | {s.first_s:.1f} |"
    )


def _latency(one: Latency) -> str:
    each = 1000 * one.seconds / max(1, one.tokens)
    return f"| {one.request} | {one.size} | {one.tokens} | {one.seconds:.3f} | {each:.2f} |"


def main() -> int:
    """Run, print and say whether every check holds."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", action="append", choices=list(SAMPLES), help="sizes to train (all)")
    parser.add_argument("--minutes", type=float, default=8.0, help="begin no size past this (default 8)")
    parser.add_argument("--json", action="store_true", help="print JSON in place of Markdown")
    parser.add_argument("--out", type=Path, help="write what is printed to this file too")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
        print("no GPU: smoke run, its figures are no measurements", file=sys.stderr)
    report = run(arguments.size or list(SAMPLES), arguments.minutes)
    text = json.dumps(attrs.asdict(report)) + "\n" if arguments.json else markdown(report)
    print(text, end="")
    if arguments.out is not None:
        arguments.out.write_text(text, encoding="utf-8")
    return int(not report.kept)


if __name__ == "__main__":
    sys.exit(main())
