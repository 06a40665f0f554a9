"""Claims about training: the loop, the optimizer, the average, what is written down, what is refused."""

import json
import math
from pathlib import Path

import attrs
import numpy as np
import pytest
import torch
from torch import nn

from fourm_runtime.assemble import assemble
from fourm_runtime.batch import Batch, Dense, Int64
from fourm_runtime.checkpoints import store as checkpoints
from fourm_runtime.checkpoints.run_folder import find_checkpoint
from fourm_runtime.checkpoints.state import DatasetMark
from fourm_runtime.data.dataset import Dataset
from fourm_runtime.data.order import Order
from fourm_runtime.masking.mask import Masker
from fourm_runtime.training.averaging import AveragedWeights
from fourm_runtime.training.learner import Learner
from fourm_runtime.training.loop import Samples, run_steps
from fourm_runtime.training.metrics import StepMetrics, TensorBoard, read_metrics
from fourm_runtime.training.optimizer import (
    build_optimizer,
    decays,
    load_optimizer_tensors,
    optimizer_tensors,
    set_learning_rate,
)
from fourm_runtime.training.preparation import Preparation
from fourm_runtime.training.step import count_step
from fourm_runtime.training.trainer import begin, train
from fourm_runtime.training.world import World, join_world
from fourm_runtime.transformer import Heads
from fourm_schema.errors import CheckpointError, DataError, TrainingError
from fourm_schema.resolve import resolve
from tests.runtime.small_run import ROWS, MadeUp, small_codecs, small_recipe, small_schema, small_train


def rows_of(count: int, word: str = "one") -> list[dict[str, object]]:
    """Samples that can be learned: the words follow from the picture."""
    rng = np.random.default_rng(0)
    words = ("one", "two", "three", "four")
    return [
        {
            "digit": np.full((4, 4), 5 * (place % 4)),
            "shape": rng.random(3),
            "caption": f"{word} {words[place % 4]}" if place % 5 else None,
        }
        for place in range(count)
    ]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Lance dataset of 64 samples, encoded."""
    schema, path = small_schema(), tmp_path_factory.mktemp("stored") / "x.lance"
    dataset = Dataset.create(path, schema, rows_of(64))
    dataset.encode(small_codecs(schema))
    return path


def test_training_on_a_stored_dataset_lowers_the_loss(stored: Path, tmp_path: Path) -> None:
    """The rooms fit together: YAML, Lance, masks, packing, model, optimizer, checkpoint, evaluation."""
    schema = small_schema()
    recipe = small_recipe(
        steps={"total": 60, "samples_per_step": 32},
        optimizer={"lr": 1e-2},
        masks=[{"preset": "from", "stream": "digit.pixels", "targets": ["caption"]}],
        checkpoint_every=100,
        evaluate_every=30,
    )
    done = train(recipe, schema, stored, tmp_path, codecs=small_codecs(schema), held_out=stored, quiet=True)

    metrics = read_metrics(tmp_path)
    assert done.finished
    assert metrics[-1].loss < 0.3 < 2.0 < metrics[0].loss
    assert metrics[0].losses.keys() == {"caption.tokens"}
    assert metrics[0].tokens_in <= 32 * 12
    scores = [json.loads(line) for line in (tmp_path / "evaluation.jsonl").read_text().splitlines()]
    assert [score["step"] for score in scores] == [30, 60]
    assert scores[1]["streams"]["caption.tokens"]["accuracy"] > 0.9
    checkpoint = checkpoints.load(tmp_path)
    assert set(checkpoint.codecs) == {"digit", "shape", "caption"}


def test_a_resumed_run_reads_the_version_it_began_with(stored: Path, tmp_path: Path) -> None:
    """Samples that were appended meanwhile would change the order of all the others."""
    schema, codecs = small_schema(), small_codecs(small_schema())
    own = Dataset.create(tmp_path / "own.lance", schema, rows_of(64))
    own.encode(codecs)
    train(small_recipe(steps={"total": 3}), schema, own, tmp_path / "run", codecs=codecs, quiet=True)
    train(small_recipe(steps={"total": 6}), schema, own, tmp_path / "straight", codecs=codecs, quiet=True)
    own.append(rows_of(20))

    train(small_recipe(steps={"total": 6}), schema, own.path, tmp_path / "run", resume=True, quiet=True)

    again, straight = read_metrics(tmp_path / "run"), read_metrics(tmp_path / "straight")
    # The learning rate depends on the length of the run, so only the samples can be compared.
    assert [m.tokens_in for m in again] == [m.tokens_in for m in straight]


def test_an_epoch_has_the_samples_that_the_run_began_with(tmp_path: Path) -> None:
    """Appended samples would make it longer, and the learning rate of the steps that are left another."""
    schema, codecs = small_schema(), small_codecs(small_schema())
    own = Dataset.create(tmp_path / "own.lance", schema, rows_of(64))
    own.encode(codecs)
    size = small_recipe().steps.samples_per_step
    one = small_recipe(steps={"total": None, "epochs": 1})
    done = train(one, schema, own, tmp_path / "run", codecs=codecs, quiet=True)
    own.append(rows_of(20))
    two = small_recipe(steps={"total": None, "epochs": 2})
    more = train(two, schema, own.path, tmp_path / "run", resume=True, quiet=True)

    assert (done.step, done.total, done.finished) == (64 // size, 64 // size, True)
    assert (more.step, more.total, more.finished) == (128 // size, 128 // size, True)


def test_tokens_of_another_codec_are_refused(stored: Path, tmp_path: Path) -> None:
    """Ids of one vocabulary mean nothing in another, and training on them would not fail by itself."""
    schema = small_schema()
    other = small_codecs(schema, "five six seven")

    with pytest.raises(DataError, match=r"caption\.tokens was encoded by another codec than the model's"):
        train(small_recipe(), schema, stored, tmp_path, codecs=other, quiet=True)


def test_equal_seeds_give_equal_runs_and_others_do_not(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        small_train(tmp_path / name, small_recipe(steps={"total": 2}, seed=seed))
    first, again, other = ([m.loss for m in read_metrics(tmp_path / name)] for name in "abc")

    assert first == again
    assert first != other


class Poisoned(MadeUp):
    """Gives numbers that are none in the samples of its third step."""

    def batch(self, rows: Int64, epoch: Int64, seed: int) -> Batch:
        batch = super().batch(rows, epoch, seed)
        pixels = batch.columns["digit.pixels"]
        assert isinstance(pixels, Dense)
        if len(self.asked) == 3:
            pixels.values[:] = math.nan
        return batch


def test_a_gradient_that_is_no_number_ends_the_run_and_spoils_nothing(tmp_path: Path) -> None:
    """The message says where to look; the weights and every file are those of the step before."""
    recipe = small_recipe(checkpoint_every=1)
    with pytest.raises(TrainingError) as error:
        small_train(tmp_path, recipe, source=Poisoned(resolve(small_schema())))

    message = str(error.value)
    assert message.startswith("step 2: the gradient is not finite, nor is the loss of ")
    assert "digit.tokens" in message
    assert "gradient norm nan" in message
    assert "no checkpoint was touched: lower optimizer.lr" in message
    assert [metrics.step for metrics in read_metrics(tmp_path)] == [0, 1]
    kept = checkpoints.load(tmp_path)
    assert find_checkpoint(tmp_path).name == "step-00000002"
    assert all(bool(weight.isfinite().all()) for weight in kept.weights.values())


def test_an_infinite_gradient_is_found_though_every_loss_is_finite() -> None:
    """Clipping would turn it into a zero step and hide it."""
    metrics = StepMetrics(7, 2.0, {"digit.tokens": 2.0}, 1e-3, math.inf, 10, 10, 1.0, 1.0)

    with pytest.raises(
        TrainingError, match=r"step 7: the gradient is not finite, though every loss is; got .* inf"
    ):
        metrics.require_finite()


def test_more_ranks_than_samples_are_refused(tmp_path: Path) -> None:
    schema = small_schema()
    start = begin(small_recipe(), schema, tmp_path, small_codecs(schema))
    samples = Samples(MadeUp(start.checkpoint.plan), (DatasetMark("made up", 1, ROWS),))

    with pytest.raises(TrainingError, match=r"less than one sample per rank; got 16 samples, 17 ranks"):
        run_steps(small_recipe(), start, samples, tmp_path, World(0, 17))


def test_a_device_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(TrainingError, match=r"PyTorch sees no GPU here; got cuda; use --device cpu"):
        join_world("cuda")


def test_decay_spares_norms_biases_and_tables_unless_asked() -> None:
    """Decaying a row that few tokens touch mostly shrinks it; a norm has no reason to be small."""
    plan, architecture = resolve(small_schema()), small_recipe().model.architecture()
    named = dict(assemble(plan, attrs.evolve(architecture, norm_bias=True)).named_parameters())
    decayed = {name for name, parameter in named.items() if decays(name, parameter, decay_tables=False)}
    tables = {
        name for name, parameter in named.items() if decays(name, parameter, decay_tables=True)
    } - decayed

    assert "tables.dense.digit__pixels.weight" in decayed
    assert "encoder.0.attn.qkv.weight" in decayed
    assert not any("norm" in name or name.endswith("bias") for name in decayed | tables)
    assert tables == {
        "tables.encoder.tokens",
        "tables.encoder.learned_positions",
        "tables.decoder.tokens",
        "tables.decoder.learned_positions",
        "tables.encoder_streams",
        "tables.registers",
    }


def test_one_step_of_the_optimizer_is_adamw() -> None:
    """Loshchilov and Hutter 2019, algorithm 2, written out for one parameter."""
    layer = nn.Linear(3, 2, bias=False).double()
    weight = layer.weight.detach().clone()
    gradient = torch.arange(6.0).reshape(2, 3).double() - 2
    optimizer = build_optimizer(layer, weight_decay=0.1, betas=(0.9, 0.95), eps=1e-8)
    set_learning_rate(optimizer, 0.01)
    layer.weight.grad = gradient.clone()
    optimizer.step()

    moved = gradient / (gradient.abs() + 1e-8)
    torch.testing.assert_close(layer.weight.detach(), weight * (1 - 0.01 * 0.1) - 0.01 * moved)


def test_row_zero_of_every_table_stays_zero(tmp_path: Path) -> None:
    """It stands for nothing: no token may ever find something there."""
    small_train(tmp_path, small_recipe(steps={"total": 4}, optimizer={"decay_tables": True}))
    weights = checkpoints.load(tmp_path).weights

    for name in ("tables.encoder.tokens", "tables.decoder.tokens", "tables.encoder_streams"):
        assert not weights[name][0].any()


def test_the_state_of_the_optimizer_comes_back(tmp_path: Path) -> None:
    small_train(tmp_path, small_recipe(steps={"total": 2}))
    model, state = checkpoints.load(tmp_path).model(), checkpoints.load_training_state(tmp_path)
    optimizer = build_optimizer(model, weight_decay=0.0, betas=(0.9, 0.95), eps=1e-8)
    load_optimizer_tensors(optimizer, model, state.optimizer)

    again = optimizer_tensors(optimizer, model)
    assert again.keys() == state.optimizer.keys()
    assert all(torch.equal(again[name], state.optimizer[name]) for name in again)
    assert float(again["context_proj.bias.step"]) == 2


def test_the_state_of_another_model_is_refused_tensor_by_tensor() -> None:
    layer = nn.Linear(2, 2)
    optimizer = build_optimizer(layer, weight_decay=0.0, betas=(0.9, 0.95), eps=1e-8)
    fields = ("step", "exp_avg", "exp_avg_sq")
    tensors = {f"weight.{field}": torch.zeros(() if field == "step" else (3, 2)) for field in fields}

    with pytest.raises(CheckpointError) as error:
        load_optimizer_tensors(optimizer, layer, {**tensors, "other.step": torch.zeros(())})

    assert "weight.exp_avg: expected [2, 2], found [3, 2]" in str(error.value)
    assert "bias.step: missing" in str(error.value)
    assert "other.step: not of this model" in str(error.value)


def test_the_average_follows_slowly_and_warms_up() -> None:
    """After n updates the decay is min(decay, (1 + n) / (10 + n)): first weights soon count for little."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    average = AveragedWeights(layer, 0.5)
    nn.init.ones_(layer.weight)
    expected, decays_seen = 0.0, []
    for _ in range(12):
        decays_seen.append(average.current_decay())
        average.update()
        expected = decays_seen[-1] * expected + (1 - decays_seen[-1])

    assert decays_seen[:3] == [0.1, 2 / 11, 3 / 12]
    assert decays_seen[-1] == 0.5
    assert float(average.weights["weight"]) == pytest.approx(expected)


def test_the_average_is_kept_beside_the_weights_and_only_if_asked(tmp_path: Path) -> None:
    small_train(tmp_path / "with", small_recipe(steps={"total": 3}))
    small_train(tmp_path / "without", small_recipe(steps={"total": 3}, optimizer={"ema": None}))
    plain = checkpoints.load(tmp_path / "with").weights
    averaged = checkpoints.load(tmp_path / "with", averaged=True).weights

    assert not torch.equal(plain["context_proj.weight"], averaged["context_proj.weight"])
    with pytest.raises(CheckpointError, match=r"keeps no average of the weights; train with optimizer\.ema"):
        checkpoints.load(tmp_path / "without", averaged=True)


def test_bfloat16_trains_close_to_float32(tmp_path: Path) -> None:
    """Autocast must hand attention one dtype, norms of queries and keys included."""
    for name in ("fp32", "bf16"):
        recipe = small_recipe(steps={"total": 3}, model={"qk_norm": True, "registers": 2}, precision=name)
        small_train(tmp_path / name, recipe)
    exact, rough = (read_metrics(tmp_path / name) for name in ("fp32", "bf16"))

    for full, half in zip(exact, rough, strict=True):
        assert half.loss == pytest.approx(full.loss, rel=0.02)
        assert half.loss != full.loss


class InFloat32(nn.LayerNorm):
    """Normalises in float32 whatever comes in, as autocast on CUDA lets every LayerNorm do."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input.float())


def test_attention_gets_one_dtype_though_norms_answer_in_another() -> None:
    """On CUDA autocast runs norms in float32; values stay bfloat16, and no kernel takes a mixture."""
    plan = resolve(small_schema())
    model = assemble(plan, small_recipe(model={"qk_norm": True}).model.architecture())
    for module in model.modules():
        if isinstance(module, Heads):
            module.q_norm, module.k_norm = InFloat32(module.head_dim), InFloat32(module.head_dim)
    recipe = small_recipe(precision="bf16")
    masker = Masker(plan, recipe.mixture(plan), 0)
    prepared = Preparation(MadeUp(plan), Order(ROWS, 0), masker, plan, model.allocation, 16).prepare(0)
    losses = Learner(model, recipe, World()).compute(prepared, count_step(prepared, [], World()))

    assert bool(losses.norm.isfinite())


def test_weights_stay_float32_under_bfloat16(tmp_path: Path) -> None:
    small_train(tmp_path, small_recipe(steps={"total": 1}, precision="bf16"))

    assert {weight.dtype for weight in checkpoints.load(tmp_path).weights.values()} == {torch.float32}


def test_a_rank_without_samples_still_has_gradients() -> None:
    """Its zeros are what the other ranks' sums need."""
    model = assemble(resolve(small_schema()), small_recipe().model.architecture())
    learner = Learner(model, small_recipe(), World())
    learner.gradients.clear()

    assert all(p.grad is not None and not p.grad.any() for p in model.parameters())


def test_tensorboard_gets_the_same_numbers(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    small_train(tmp_path, small_recipe(steps={"total": 1}))
    board = TensorBoard(tmp_path)
    board.write(read_metrics(tmp_path)[0])
    board.close()

    assert next(file.name for file in (tmp_path / "tensorboard").iterdir()).startswith("events.out")
