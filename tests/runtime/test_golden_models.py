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
from numpy.typing import NDArray
from safetensors import safe_open

from fourm_codecs.dense import DenseView
from fourm_runtime.assemble import stored_tensors
from fourm_runtime.batch import MicroBatch
from fourm_runtime.checkpoints.store import Checkpoint
from fourm_runtime.generation.plan import compile_request
from fourm_runtime.generation.request import Prefix, Request, read_targets
from fourm_runtime.generation.run import Job, run_jobs
from fourm_runtime.generation.samples import Sample, Tokens, packed
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


@pytest.fixture(scope="module")
def samplers(golden: Path, imported: list[Imported]) -> list[tuple[AnyToAnyTransformer, Path]]:
    """Recordings of the released sampler, each with the model it ran."""
    by_name = {each.recorded.model.stem: each.model for each in imported}
    found = []
    for path in sorted(golden.glob("gen_*.safetensors")):
        with safe_open(path, "np") as file:
            found.append((by_name[file.metadata()["model"]], path))
    return found


def patches_of(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    view = DenseView.of_image((rgb.shape[2], rgb.shape[3]), (16, 16), None, 3)
    return view.patches(rgb.transpose(0, 2, 3, 1))


def test_golden_tokens_of_one_greedy_step_are_those_of_the_released_sampler(
    samplers: list[tuple[AnyToAnyTransformer, Path]],
) -> None:
    """A whole grid at once, each token the likeliest: no choice of order or chance is left."""
    for model, path in samplers:
        with safe_open(path, "np") as file:
            rgb = file.get_tensor("in/rgb@224")
            truth = file.get_tensor("maskgit_greedy_1step/out/tok_depth@224/tensor")
            scores = file.get_tensor("maskgit_greedy_1step/first_step_logits")
        stream = model.plan.stream("tok_depth@224")
        patches = patches_of(rgb)
        cells = np.arange(stream.length, dtype=np.int32)
        asked = [Sample({"rgb.pixels": Tokens.dense(one)}, {stream.name: cells}) for one in patches]
        with torch.no_grad():
            logits = model(packed(asked, model))[stream.name].numpy()
        assert float(np.abs(logits - scores.reshape(logits.shape)).max()) <= LOGITS

        targets = read_targets({stream.name: {"steps": 1, "temperature": 0.0}}, model.plan)
        plan = compile_request(model.plan, Request({"rgb@224": True}, targets))
        jobs = [
            Job(plan, {"rgb.pixels": Tokens.dense(one)}, index=number) for number, one in enumerate(patches)
        ]
        found = np.stack([made[stream.name].ids for made in run_jobs(model, jobs)])
        assert (found == truth).all()


def test_golden_sequences_are_those_of_the_released_sampler(
    samplers: list[tuple[AnyToAnyTransformer, Path]],
) -> None:
    """Greedy, left to right, from one visible sentinel, as long as the released code writes words.

    It stops at the sentinel that closes the span, or where its length ends; here words go on to an end id.
    """
    for model, path in samplers:
        with safe_open(path, "np") as file:
            rgb = file.get_tensor("in/rgb@224")
            for key, text in file.metadata().items():
                case, _, part = key.partition("/")
                if part != "schedule" or len(json.loads(text)) != 1:
                    continue
                (step,) = json.loads(text)
                if (step["scheme"], step["temperature"], step["cfg_scale"]) != ("autoregressive", 0.0, 1.0):
                    continue
                domain = step["target_domain"]
                stream = model.plan.stream(domain)
                truth = file.get_tensor(f"{case}/out/{domain}/tensor")
                targets = read_targets({domain: {"temperature": 0.0}}, model.plan)
                plan = compile_request(model.plan, Request({"rgb@224": True, domain: Prefix([])}, targets))
                nothing = {stream.name: np.zeros(0, np.int32)}
                jobs = [
                    Job(plan, {"rgb.pixels": Tokens.dense(one)}, nothing, index=number)
                    for number, one in enumerate(patches_of(rgb))
                ]
                for row, made in zip(truth, run_jobs(model, jobs), strict=True):
                    words = row[row != 0].tolist()
                    assert words and made[stream.name].ids[: len(words)].tolist() == words
