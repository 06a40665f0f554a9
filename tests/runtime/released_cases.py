"""Cases of the released code (inputs, masks, token budgets) as what packing takes.

The reference lays the tokens of all modalities end to end, the chosen ones first and otherwise in order, and
cuts at its budget. So a budget takes modalities in their order: those of the encoder in the order of
`domains_in`, those of the decoder in an order that is recorded with each case.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs
import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from fourm_codecs.dense import DenseView
from fourm_runtime.batch import Masked, Selection
from fourm_schema.plan import Plan, Stream

Arrays = dict[str, NDArray[np.generic]]


@attrs.frozen(eq=False)
class Recorded:
    """What the released code was given and what it computed.

    Attributes:
        model: path of the model's file.
        metadata: of the recording.
        arrays: every recorded array.
    """

    model: Path
    metadata: dict[str, str]
    arrays: Arrays

    @property
    def cases(self) -> list[str]:
        return sorted({name.partition("/")[0] for name in self.arrays})

    def order(self, case: str) -> list[str]:
        """4M's names of the decoder's modalities, in the order in which the case laid them."""
        found: list[str] = json.loads(self.metadata[f"{case}/decoder_modality_order"])
        return found

    def budgets(self, case: str) -> tuple[int, int]:
        own = self.metadata.get(f"{case}/num_tokens")
        if own:
            first, second = json.loads(own)
            return first, second
        return int(self.metadata["num_encoder_tokens"]), int(self.metadata["num_decoder_tokens"])

    def inputs(self, case: str) -> dict[str, Arrays]:
        """Modality -> tensor and masks; case C hides all of row 0 and asks nothing of row 1."""
        prefix = f"{case}/in/" if any(name.startswith(f"{case}/in/") for name in self.arrays) else "A/in/"
        found: dict[str, Arrays] = {}
        for name, array in self.arrays.items():
            if name.startswith(prefix):
                domain, part = name.removeprefix(prefix).rsplit("/", 1)
                found.setdefault(domain, {})[part] = array.copy()
        if case == "C":
            for parts in found.values():
                parts["input_mask"][0] = True
                parts["target_mask"][1] = True
        return found


def recordings(folder: Path) -> list[Recorded]:
    """Every recorded model of a folder."""
    found = []
    for io in sorted(folder.glob("fm_*.io.safetensors")):
        with safe_open(io, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
            found.append(Recorded(io.with_name(io.name.replace(".io.", ".")), file.metadata(), arrays))
    return found


def masked_of(
    plan: Plan,
    inputs: Mapping[str, Arrays],
    order: Sequence[str],
    budgets: tuple[int, int],
    shown_order: Sequence[str] = (),
) -> Masked:
    """Choose tokens as the released code does.

    Args:
        plan: of the imported model; its streams stand in the encoder's order.
        inputs: 4M name -> tensor and masks (True = hidden).
        order: 4M names in the decoder's order.
        budgets: most tokens of the encoder and of the decoder.
        shown_order: 4M names in the encoder's order, if that is not the plan's.
    """
    size = len(next(iter(inputs.values()))["input_mask"])
    shown: dict[str, Selection] = {}
    asked: dict[str, Selection] = {}
    dense: dict[str, NDArray[np.float32]] = {}
    left = np.full(size, budgets[0])
    for stream in [plan.stream(name) for name in shown_order] or plan.inputs:
        parts = inputs[_domain(stream, inputs)]
        cells, samples, left = _first(~parts["input_mask"].astype(bool), left)
        ranks = cells if stream.layout == "grid" else _ranks(samples)
        if stream.is_dense:
            dense[stream.name] = _dense(stream, parts["tensor"], samples, cells)
            shown[stream.name] = _selection(samples, ranks, ranks)
        else:
            ids = parts["tensor"].reshape(size, -1)
            shown[stream.name] = _selection(samples, ranks, ids[samples, cells])
    left = np.full(size, budgets[1])
    for domain in order:
        stream, parts = plan.stream(domain), inputs[domain]
        wanted, ids = ~parts["target_mask"].astype(bool), parts["tensor"].reshape(size, -1)
        if stream.layout == "grid":
            cells, samples, left = _first(wanted, left)
            asked[stream.name] = _selection(samples, cells, ids[samples, cells])
            continue
        # A target stands at each place whose follower is predicted too; ranks count from the first.
        cells, samples, left = _first(wanted[:, :-1] & wanted[:, 1:], left)
        ranks = np.cumsum(wanted, axis=1)[samples, cells] - 1
        asked[stream.name] = _selection(samples, ranks, ids[samples, cells + 1], ids[samples, cells])
    return Masked(size, shown, asked, dense)


def _domain(stream: Stream, inputs: Mapping[str, Arrays]) -> str:
    return next(name for name in (*stream.aliases, stream.modality) if name in inputs)


def _first(
    chosen: NDArray[np.bool_], left: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """The first `left` chosen cells of each row: (T,) cells, (T,) rows, and what is left then."""
    kept = chosen & (np.cumsum(chosen, axis=1) <= left[:, None])
    samples, cells = np.nonzero(kept)
    return cells, samples, left - kept.sum(1)


def _ranks(samples: NDArray[np.int64]) -> NDArray[np.int64]:
    counts = np.unique(samples, return_counts=True)[1]
    return np.concatenate([np.zeros(0, np.int64), *(np.arange(count) for count in counts)])


def _selection(
    samples: NDArray[np.int64],
    positions: NDArray[np.int64],
    ids: NDArray[np.generic],
    previous: NDArray[np.generic] | None = None,
) -> Selection:
    return Selection(
        samples.astype(np.int32),
        positions.astype(np.int32),
        ids.astype(np.int32),
        None if previous is None else previous.astype(np.int32),
    )


def _dense(
    stream: Stream, tensor: NDArray[np.generic], samples: NDArray[np.int64], cells: NDArray[np.int64]
) -> NDArray[np.float32]:
    """(N, L, C) numbers: patches of a picture, or the visible vectors of a sequence moved to the front."""
    if stream.layout == "grid":
        side, patch = tensor.shape[2], tensor.shape[2] // (stream.grid or (1,))[0]
        view = DenseView.of_image((side, side), (patch, patch), None, tensor.shape[1])
        return view.patches(tensor.transpose(0, 2, 3, 1).astype(np.float32))
    values = np.zeros((len(tensor), stream.length, tensor.shape[2]), np.float32)
    values[samples, _ranks(samples)] = tensor[samples, cells]
    return values


def in_order(plan: Plan, order: Sequence[str]) -> Plan:
    """The plan with its targets in another order: where streams are not kept apart, it says who sees whom."""
    first = [plan.stream(name) for name in order]
    return attrs.evolve(plan, streams=(*first, *(s for s in plan.streams if s not in first)))
