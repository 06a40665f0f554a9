"""Released 4M models give the numbers here that they give in the released code.

Everything runs through the packed float32 path. Tolerances: the released code's own noise floor between
float32 and float64 is 6e-6 on logits of size 1 to 30.
"""

import json
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from safetensors import safe_open

from fourm_runtime.assemble import stored_tensors
from fourm_runtime.batch import MicroBatch
from fourm_runtime.checkpoints.store import Checkpoint
from fourm_runtime.loss import Divisor, loss_sums, stream_factors, target_counts, weighted
from fourm_runtime.packing import pack
from fourm_runtime.released.exporting import export_4m, released_tensors
from fourm_runtime.released.importing import import_4m
from fourm_runtime.released.positions import released_positions
from fourm_runtime.transformer import AnyToAnyTransformer
from fourm_schema.allocation import position_key
from tests.runtime.released_cases import Recorded, in_order, masked_of, recordings

LOGITS = 5e-5
LOSSES = 1e-5
GRADIENTS = 3e-5
"""Of a gradient's norm. The released code keeps norms in float32 too: its own rounding is a part of this."""


@attrs.frozen(eq=False)
class Imported:
    """A recorded model, here."""

    recorded: Recorded
    checkpoint: Checkpoint
    model: AnyToAnyTransformer

    def batch(self, case: str) -> MicroBatch:
        """The tokens that the released code chose in a case."""
        recorded, shape = self.recorded, self.model.architecture
        plan = in_order(self.model.plan, recorded.order(case))
        masked = masked_of(
            self.model.plan, recorded.inputs(case), recorded.order(case), recorded.budgets(case)
        )
        (batch,) = pack(
            masked,
            plan,
            self.model.allocation,
            shape.registers,
            apart=shape.decoder_streams_apart,
            left_to_right=shape.decoder_left_to_right,
        )
        return batch

    def streams(self, case: str) -> dict[str, str]:
        """4M name -> stream, of the targets."""
        return {domain: self.model.plan.stream(domain).name for domain in self.recorded.order(case)}


@pytest.fixture(scope="module")
def imported(golden: Path) -> list[Imported]:
    found = []
    for recorded in recordings(golden):
        checkpoint = import_4m(recorded.model)
        found.append(Imported(recorded, checkpoint, checkpoint.model().eval()))
    assert found, "the folder holds recorded models"
    return found


def test_golden_models_give_the_logits_of_the_released_code(
    imported: list[Imported], record_property: Callable[[str, object], None]
) -> None:
    """Every modality, every case: with all tokens, with budgets that cut, with nothing shown or asked."""
    worst = 0.0
    for each in imported:
        arrays = each.recorded.arrays
        for case in each.recorded.cases:
            batch = each.batch(case)
            with torch.no_grad():
                logits = each.model(batch)
            for domain, stream in each.streams(case).items():
                wanted = arrays[f"{case}/logits_target/{domain}"]
                if not len(wanted):
                    assert stream not in logits
                    continue
                assert batch.heads[stream].targets.tolist() == wanted.tolist()
                found = logits[stream].numpy()
                whole = arrays.get(f"{case}/logits/{domain}")
                if whole is None:
                    whole = arrays[f"{case}/logits_subset/{domain}"]
                    sums = torch.logsumexp(logits[stream], -1).numpy()
                    errors = np.abs(sums - arrays[f"{case}/logits_logsumexp/{domain}"].reshape(-1))
                    worst = max(worst, float(errors.max()))
                    found = found[:, arrays[f"{case}/logits_subset_index/{domain}"]]
                assert found.shape == whole.shape
                worst = max(worst, float(np.abs(found - whole).max()))
                assert worst <= LOGITS, (each.recorded.model.name, case, domain, worst)
    record_property("largest difference of a logit", worst)
    print(f"largest difference of a logit: {worst:.1e}")


def test_golden_models_give_the_encoder_output_of_the_released_code(imported: list[Imported]) -> None:
    """Token by token, registers first, where the sample shows anything."""
    for each in imported:
        arrays, model = each.recorded.arrays, each.model
        for case in each.recorded.cases:
            masked = masked_of(
                model.plan, each.recorded.inputs(case), each.recorded.order(case), each.recorded.budgets(case)
            )
            (batch,) = pack(masked, model.plan, model.allocation, model.architecture.registers)
            with torch.no_grad():
                parts = torch.split(model.features(batch), list(batch.encoder_lengths))
            hidden = arrays[f"{case}/encoder_pad_mask"].reshape(len(parts), -1)
            for part, truth, skip in zip(parts, arrays[f"{case}/encoder_output"], hidden, strict=True):
                wanted = truth[~skip.astype(bool)]
                if len(wanted):
                    assert float(np.abs(part.numpy() - wanted).max()) <= LOGITS


def test_golden_models_give_both_losses_of_the_released_code(imported: list[Imported]) -> None:
    """Loss type `mod` divides by all declared targets, `token` weighs them by targets times ids."""
    for each in imported:
        arrays = each.recorded.arrays
        for case in each.recorded.cases:
            batch = each.batch(case)
            with torch.no_grad():
                sums = loss_sums(each.model(batch), batch)
            counts = target_counts((batch,))
            kinds: dict[str, Divisor] = {"mod": "declared", "token": "scores"}
            for kind, divisor in kinds.items():
                factors = stream_factors(counts, each.model.plan, divisor)
                total = float(weighted(sums, factors))
                assert total == pytest.approx(float(arrays[f"{case}/loss_{kind}"].item()), rel=LOSSES)
                for domain, stream in each.streams(case).items():
                    mean = float(sums[stream]) / counts[stream] if stream in sums else 0.0
                    truth = float(arrays[f"{case}/loss_{kind}/{domain}"].item())
                    assert mean == pytest.approx(truth, rel=LOSSES), (case, kind, domain)


def test_golden_models_give_the_gradient_of_every_parameter(
    imported: list[Imported], record_property: Callable[[str, object], None]
) -> None:
    """Norm and sum of each, in 4M's names; what a name shares counts once."""
    worst = 0.0
    for each in imported:
        recorded, model = each.recorded, each.model
        batch = each.batch("A")
        factors = stream_factors(target_counts((batch,)), model.plan, "declared")
        model.zero_grad()
        torch.autograd.backward(weighted(loss_sums(model(batch), batch), factors))
        gradients = {
            name: tensor.grad if tensor.grad is not None else torch.zeros_like(tensor)
            for name, tensor in stored_tensors(model).items()
        }
        under = released_tensors(attrs.evolve(each.checkpoint, weights=gradients))
        names = json.loads(recorded.metadata["A/grad_names"])
        norms, sums = recorded.arrays["A/grad_l2"], recorded.arrays["A/grad_sum"]
        largest = float(np.max(norms))
        for name, norm, total in zip(names, norms.tolist(), sums.tolist(), strict=True):
            found = under[name].double()
            # A bias on all keys moves no softmax: such a gradient is rounding, held against the largest.
            scale = max(norm, 1e-3 * largest)
            errors = [
                abs(float(found.norm()) - norm) / scale,
                # A sum of n numbers of one norm is at most sqrt(n) times it.
                abs(float(found.sum()) - total) / (scale * found.numel() ** 0.5),
            ]
            worst = max(worst, *errors)
            assert all(error <= GRADIENTS for error in errors), (recorded.model.name, name, errors)
    record_property("largest difference of a gradient", worst)
    print(f"largest difference of a gradient: {worst:.1e}")


def test_golden_models_come_back_bit_for_bit(imported: list[Imported], tmp_path: Path) -> None:
    """Tensors, their types and the configuration: a model that was here is still a released model."""
    for each in imported:
        path = tmp_path / each.recorded.model.name
        export_4m(each.checkpoint, path)
        with safe_open(each.recorded.model, "pt") as truth, safe_open(path, "pt") as found:
            assert found.metadata() == truth.metadata()
            assert set(found.keys()) == set(truth.keys())
            for name in truth.keys():  # noqa: SIM118  (no mapping)
                one, other = found.get_tensor(name), truth.get_tensor(name)
                assert one.dtype == other.dtype and torch.equal(one, other), name
        again = import_4m(path)
        assert again.schema == each.checkpoint.schema and again.plan == each.checkpoint.plan
        assert all(torch.equal(again.weights[name], each.checkpoint.weights[name]) for name in again.weights)


def test_golden_positions_are_those_that_the_released_code_computes(imported: list[Imported]) -> None:
    """A file may lack them. A float32 sine may differ in its last bit from one machine to the next."""
    for each in imported:
        plan, allocation = each.checkpoint.plan, each.checkpoint.allocation
        stored = each.checkpoint.weights["tables.fixed_positions"]
        for stream in plan.streams:
            if stream.positions != "learned-1d":
                rows = allocation.fixed_positions[position_key(stream)]
                found = released_positions(
                    rows.size, stored.shape[1], on_grid=stream.positions == "sincos-2d"
                )
                assert torch.allclose(found, stored[rows.start : rows.stop], rtol=0, atol=2e-7)
