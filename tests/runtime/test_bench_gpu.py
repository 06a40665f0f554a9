"""The GPU benchmark counts what it says it counts, sees faults, and needs no Lance.

It runs where it is given a GPU for minutes: what can be known before should be.
"""

import subprocess
import sys
from pathlib import Path

import attrs
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fourm_runtime.assemble import assemble
from fourm_runtime.attention_regions import Regions, attend_regions
from fourm_runtime.packing import pack
from fourm_schema.architecture import Architecture
from tests.runtime.drawn_plans import masked_samples, plan_of, stream

BENCH = Path(__file__).parents[2] / "bench"
sys.path.insert(0, str(BENCH))  # as python does for a script

import gpu_attention  # noqa: E402 - path set above
from gpu import Check, Findings, Report, markdown  # noqa: E402 - path set above
from gpu_training import Steps, forward_flops  # noqa: E402 - path set above

PLAN = plan_of(stream("pixels", 0), stream("image", 1), stream("bins", 2), stream("text", 3))
SHAPE = Architecture(dim=16, heads=2, encoder_depth=2, decoder_depth=3)
CPU = torch.device("cpu")


def test_flops_are_those_that_pytorch_counts_and_pairs_of_attention() -> None:
    """Products are counted by PyTorch while the model runs; pairs of tokens by their definition."""
    model = assemble(PLAN, SHAPE)
    (batch,) = pack(masked_samples(PLAN, 4, 0, absent=0.0), PLAN, model.allocation)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(batch)
    counts = {str(op): flops for op, flops in counter.get_flop_counts()["Global"].items()}
    products = sum(counts.get(name, 0) for name in ("aten.mm", "aten.addmm"))
    inside = sum(n * n for n in batch.encoder_lengths)
    own = sum(n * n for n in batch.parallel_lengths) + sum(n * (n + 1) // 2 for n in batch.causal_lengths)
    asked = zip(batch.parallel_queries, batch.causal_queries, batch.encoder_lengths, strict=True)
    across = sum((p + c) * n for p, c, n in asked)

    assert products > 0
    assert forward_flops(model, batch) == products + 4 * 16 * (2 * inside + 3 * (own + across))


def test_attention_that_is_right_passes_and_that_is_wrong_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in a thousand is more than float32's rounding; a kernel that raises is told, and stops nothing."""
    assert all(one.kept for one in gpu_attention.attention_errors(CPU, [torch.float32], scale=20))

    def off(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, regions: Regions) -> torch.Tensor:
        if len(regions.parts) > 1:
            raise RuntimeError("no such kernel")
        return attend_regions(q * 1.001, k, v, regions)

    monkeypatch.setattr(gpu_attention, "attend_regions", off)
    found = gpu_attention.attention_errors(CPU, [torch.float32], scale=20)

    assert {one.way for one in found if not one.kept} == {"attend"}
    assert {one.kind for one in found if one.fault} == {"cross", "regions", "idle"}
    assert {one.kind for one in found if not one.kept} == {one.kind for one in found}


def test_a_part_that_fails_is_a_failed_check_and_hides_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    """Half an hour of a GPU should not be lost to the last minute."""
    found = Findings()
    with found.part("training of large"):
        raise ValueError("out of | luck")

    assert found.checks == [Check("training of large runs", False, "ValueError: out of / luck")]
    assert "out of | luck" in capsys.readouterr().err


def test_a_report_says_what_it_is_worth() -> None:
    eager = Steps("base", "eager", 10**6, 8, 355.0, 0.2, 40.0, 14_200.0, 100.0, 0.1, 0.125, 12.0, 1.0, "")
    compiled = attrs.evolve(eager, way="compiled", seconds=0.1)
    checks = [Check("a", True, ""), Check("b", False, "why")]
    report = Report("cpu", True, "2.13", {}, 1.0, checks, [eager, compiled], [], ["left out"], 3.0)
    text = markdown(report)

    assert not report.kept
    assert "SMOKE RUN" in text and "no measurements" in text
    assert "| b | **NO** | why |" in text
    assert "base: compiled is 2.00 times as fast as eager." in text
    assert "- left out" in text


def test_it_needs_no_lance() -> None:
    """The machine with the GPU has what trains a model, not what stores its data."""
    script = (
        "import sys\n"
        "class Without:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('lance', 'pyarrow'):\n"
        "            raise ImportError(name)\n"
        f"sys.meta_path.insert(0, Without()); sys.path.insert(0, {str(BENCH)!r})\n"
        "import gpu\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
