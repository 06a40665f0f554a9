"""xformers below attention: when it is loaded, which one is taken, and what is tried before it is trusted."""

import importlib
import importlib.metadata
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fourm_runtime import attention, attention_backend
from fourm_runtime.attention import Blocks, operator_name
from fourm_schema.errors import BackendError
from tests.runtime.attention_oracle import CPU, outputs_and_gradients, scale_off


def test_reproducible_mode_changes_nothing_on_a_cpu_and_insists_on_cutlass_on_a_gpu() -> None:
    """FlashAttention 2 declares its backward pass non-deterministic, and xformers would find none."""
    blocks = Blocks.build([3, 70, 5])
    free, _ = outputs_and_gradients(blocks, torch.float32)
    torch.use_deterministic_algorithms(True)
    try:
        bound, _ = outputs_and_gradients(blocks, torch.float32)
        operators = attention_backend.operators(torch.device("cuda"))
    finally:
        torch.use_deterministic_algorithms(False)

    assert all(torch.equal(a, b) for a, b in zip(free, bound, strict=True))
    assert operators is not None
    assert [operator.NAME for operator in operators] == ["cutlassF-pt", "cutlassB-pt"]
    assert attention_backend.operators(torch.device("cuda")) is None


def test_importing_attention_does_not_import_xformers_and_using_it_says_nothing() -> None:
    """The import takes seconds, and on a CPU its warning is about a file that attention never needs."""
    script = (
        "import sys, torch\n"
        "from fourm_runtime.attention import Blocks, attend\n"
        "assert 'xformers' not in sys.modules\n"
        "x = torch.zeros(2, 1, 8)\n"
        "attend(x, x, x, Blocks.build([2]))\n"
        "assert 'xformers' in sys.modules\n"
    )
    path = [str(Path(attention.__file__).parents[1]), str(Path(attention.__file__).parents[2])]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {path}\n{script}"], capture_output=True, text=True
    )

    assert done.returncode == 0, done.stderr
    assert "xformers" not in done.stderr.lower()


def test_the_operator_has_a_name_to_print() -> None:
    assert operator_name("cpu") == "fourmF-cpu"


def test_a_device_without_kernels_is_refused_by_name() -> None:
    with pytest.raises(BackendError, match=r"there is no kernel for meta; use cpu or cuda"):
        operator_name("meta")


def test_another_xformers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "0.0.36")

    with pytest.raises(BackendError, match=r"got 0\.0\.36; pip install xformers==0\.0\.35"):
        attention_backend.fmha.__wrapped__()


def test_a_missing_xformers_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", absent)

    with pytest.raises(BackendError, match=r"xformers: is not installed; pip install"):
        attention_backend.fmha.__wrapped__()


def test_an_xformers_that_torch_has_outgrown_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(name: str) -> object:
        raise ImportError("schema differs")

    monkeypatch.setattr(importlib, "import_module", broken)

    with pytest.raises(BackendError, match=r"cannot be imported beside torch .*got schema differs"):
        attention_backend.fmha.__wrapped__()


@pytest.mark.parametrize("error", [0.5, math.nan])
def test_a_kernel_behind_the_opened_gate_must_pass_the_self_test(
    error: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """xformers closes its gate when an extension fails to load that attention does not need."""
    common = importlib.import_module("xformers.ops.fmha.common")
    monkeypatch.setattr(common, "_built_with_cuda", False)
    real = attention._self_test
    monkeypatch.setattr(attention, "_self_test", lambda _, dtype: real(CPU, dtype))
    with torch.inference_mode():
        attention.check_device.__wrapped__(torch.device("cuda"))
    assert common._built_with_cuda

    monkeypatch.setattr(attention, "_self_test", lambda *_: error)
    with pytest.raises(BackendError, match=r"disagrees with an explicit softmax"):
        attention.check_device.__wrapped__(torch.device("cuda"))


def test_a_gpu_without_a_kernel_for_one_precision_still_serves_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Old GPUs have none for bfloat16, the newest none for float32; `attend` refuses those by name."""
    monkeypatch.setattr(importlib.import_module("xformers.ops.fmha.common"), "_built_with_cuda", True)
    tested = []

    def self_test(_: torch.device, dtype: torch.dtype) -> float:
        tested.append(dtype)
        if dtype is torch.float32:
            raise NotImplementedError("no operator found")
        return 1e-3

    monkeypatch.setattr(attention, "_self_test", self_test)
    attention.check_device.__wrapped__(torch.device("cuda"))

    assert tested == [torch.float32, torch.bfloat16]


def test_the_self_test_passes_here_and_sees_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    assert attention._self_test(CPU, torch.float32) < 1e-5
    scale_off(importlib.import_module("fourm_runtime.cpu_operator"), monkeypatch)

    assert not attention._self_test(CPU, torch.float32) < 1e-4
