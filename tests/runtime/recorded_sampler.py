"""Recordings of the released sampler: what it was given, what it wrote in each step, and what came out."""

import json
from collections.abc import Iterator
from pathlib import Path

import attrs
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open

from fourm_codecs.dense import DenseView
from fourm_runtime.batch import Int32
from fourm_runtime.generation.request import Target
from fourm_runtime.generation.samples import Tokens
from fourm_runtime.released.importing import import_4m
from fourm_runtime.transformer import AnyToAnyTransformer
from fourm_schema.plan import Plan
from tests.runtime.released_cases import Arrays


@attrs.frozen
class Move:
    """One step of the released sampler's schedule."""

    domain: str
    scheme: str
    tokens: int | None
    temperature: float
    guidance: float
    conditions: tuple[str, ...]


@attrs.frozen(eq=False)
class Case:
    """One recorded request of two rows.

    Attributes:
        name: its name in the recording.
        moves: the schedule.
        seed, top_k, top_p: arguments; a `top_p` of 0 sets no limit.
        arrays: what is recorded of it, names relative to the case.
        patches: (2, L, C) the picture that is shown, unless the request is a text.
    """

    name: str
    moves: tuple[Move, ...]
    seed: int
    top_k: int
    top_p: float
    arrays: Arrays
    patches: NDArray[np.float32]

    @property
    def grid_moves(self) -> list[Move]:
        return [move for move in self.moves if move.scheme != "autoregressive"]

    @property
    def greedy(self) -> bool:
        return all(move.temperature == 0 for move in self.moves)

    def shown(self, plan: Plan, row: int) -> dict[str, Tokens]:
        """What a row gives. A text that is to be written later shows its opening sentinel from the start."""
        found: dict[str, Tokens] = {}
        if "rgb@224" in self.moves[0].conditions:
            found[plan.stream("rgb@224").name] = Tokens.dense(self.patches[row])
        grids = {move.domain for move in self.grid_moves}
        for name, ids in self.arrays.items():
            side, _, rest = name.partition("/")
            domain, _, part = rest.rpartition("/")
            if side == "in" and part == "tensor" and domain not in grids:
                visible = ~self.arrays[f"in/{domain}/input_mask"][row].astype(bool)
                found[plan.stream(domain).name] = Tokens.whole(ids[row][visible].astype(np.int32))
        return found

    def written(self, step: int) -> NDArray[np.int32]:
        """(2, L) ids that a step wrote, -1 where it wrote none."""
        return self.arrays[f"trace/{step:03d}/{self.grid_moves[step].domain}"].astype(np.int32)

    def order(self, domain: str, row: int) -> tuple[int, ...]:
        """The cells of a grid in the order in which they were written; within a step, by number."""
        parts = [
            np.flatnonzero(self.written(step)[row] >= 0)
            for step, move in enumerate(self.grid_moves)
            if move.domain == domain
        ]
        return tuple(np.concatenate(parts).tolist())

    def targets(self, row: int) -> tuple[Target, ...]:
        """The grids as targets of ours, their cells in the recorded order."""
        found = []
        for domain in dict.fromkeys(move.domain for move in self.grid_moves):
            moves = [move for move in self.grid_moves if move.domain == domain]
            guided = moves[0].guidance != 1
            found.append(
                Target(
                    domain,
                    scheme=moves[0].scheme,
                    steps=len(moves),
                    temperature=moves[0].temperature,
                    guidance=moves[0].guidance,
                    conditions=moves[0].conditions if guided else None,
                    token_schedule="cosine" if moves[0].scheme == "maskgit" else "linear",
                    order=self.order(domain, row),
                )
            )
        return tuple(found)

    def result(self, domain: str) -> NDArray[np.int64]:
        """(2, L) ids that came out; rows of a sequence are filled up with zeros."""
        return self.arrays[f"out/{domain}/tensor"].astype(np.int64)

    def generator(self, step: int) -> torch.Generator:
        """The released sampler seeds its one generator anew in each step of a grid."""
        return torch.Generator().manual_seed(self.seed + step)

    def drawn_cells(self) -> Int32:
        """The cells of the first step in the order in which its logits are recorded."""
        length = self.arrays[f"out/{self.moves[0].domain}/tensor"].shape[1]
        if self.moves[0].scheme == "maskgit":
            return np.arange(length, dtype=np.int32)
        ranks = torch.rand(length, generator=self.generator(0)).argsort()
        return ranks[: self.moves[0].tokens].numpy().astype(np.int32)


@attrs.frozen(eq=False)
class RecordedSampler:
    """A model and what the released sampler made with it."""

    model: AnyToAnyTransformer
    cases: tuple[Case, ...]

    @property
    def plan(self) -> Plan:
        return self.model.plan


def recorded_samplers(folder: Path) -> list[RecordedSampler]:
    """Every recording of a folder, with its model imported."""
    found = []
    for path in sorted(folder.glob("gen_*.safetensors")):
        with safe_open(path, "np") as file:
            metadata = file.metadata()
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
        model = import_4m(folder / f"{metadata['model']}.safetensors").model().eval()
        found.append(RecordedSampler(model, tuple(_cases(metadata, arrays))))
    return found


def _cases(metadata: dict[str, str], arrays: Arrays) -> Iterator[Case]:
    patches = _patches(arrays["in/rgb@224"].astype(np.float32))
    for key in sorted(metadata):
        name, _, part = key.partition("/")
        if part != "schedule":
            continue
        arguments = json.loads(metadata[f"{name}/args"])
        moves = [
            Move(
                step["target_domain"],
                step["scheme"],
                step["num_tokens"],
                step["temperature"],
                step["cfg_scale"],
                tuple(step["cfg_cond_domains"]),
            )
            for step in json.loads(metadata[key])
        ]
        own = {
            other.removeprefix(f"{name}/"): array
            for other, array in arrays.items()
            if other.startswith(f"{name}/")
        }
        yield Case(
            name,
            tuple(moves),
            arguments["seed"],
            int(arguments["top_k"]),
            float(arguments["top_p"]) or 1.0,
            own,
            patches,
        )


def _patches(rgb: NDArray[np.float32]) -> NDArray[np.float32]:
    view = DenseView.of_image((rgb.shape[2], rgb.shape[3]), (16, 16), None, rgb.shape[1])
    return view.patches(rgb.transpose(0, 2, 3, 1))
