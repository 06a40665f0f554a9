"""The state of a fit on disk, so that a killed one goes on as if it had not been cut off.

    fit.json                    recipe, schema entry, hash of the values held out; the step and its state
    state-<hash>.safetensors    weights, buffers, averages and the optimizer's moments
    metrics.jsonl               one line per measured step

`fit.json` is put in place last: the folder always holds one whole state.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from fourm_codecs.base import Array, Json
from fourm_codecs.files import (
    from_bytes,
    read_file,
    tensors_from_bytes,
    tensors_to_bytes,
    to_bytes,
    write_file,
)
from fourm_schema.errors import CodecError

MANIFEST = "fit.json"
METRICS = "metrics.jsonl"
FORMAT = "fourm-fit-1"
RECENT = 10
AVERAGE = "average."
MOMENTS = ("exp_avg", "exp_avg_sq", "step")


@attrs.frozen
class FitFolder:
    """Where a fit keeps its state.

    Attributes:
        path: the folder.
        identity: what must be the same for a fit to go on: modality, recipe, schema entry and a hash of the
            values held out, under names that fit into a message.
    """

    path: Path
    identity: Mapping[str, Json]

    def save(
        self, step: int, network: nn.Module, optimizer: torch.optim.AdamW, average: Mapping[str, Tensor]
    ) -> None:
        """Write the state after `step` steps, in place of the one before.

        Raises:
            CodecError: if the folder cannot be written to.
        """
        content = tensors_to_bytes(state_tensors(network, optimizer, average))
        digest = hashlib.sha256(content).hexdigest()
        name = _state_name(digest)
        write_file(self.path / name, content)
        manifest: dict[str, Json] = {"format": FORMAT, "step": step, "state": digest, **self.identity}
        write_file(self.path / MANIFEST, to_bytes(manifest))
        for stale in self.path.glob("state-*.safetensors"):
            if stale.name != name:
                stale.unlink(missing_ok=True)

    def load(self, network: nn.Module, optimizer: torch.optim.AdamW, average: Mapping[str, Tensor]) -> int:
        """Put the saved state back.

        Returns:
            how many steps are done; 0 where nothing was saved.

        Raises:
            CodecError: if it is the state of another fit, or a file is damaged.
        """
        if not (self.path / MANIFEST).exists():
            return 0
        where = str(self.path / MANIFEST)
        manifest = from_bytes(read_file(self.path / MANIFEST), where)
        step, digest = manifest.get("step"), manifest.get("state")
        if manifest.get("format") != FORMAT or not isinstance(step, int) or not _is_digest(digest):
            raise CodecError(where, f"is no {FORMAT} file", mend="it is damaged; fit without resume")
        for key, value in self.identity.items():
            if manifest.get(key) != json.loads(to_bytes(value)):
                raise CodecError(
                    where,
                    f"is the state of a fit with another {key}",
                    got=f"{manifest.get(key)}, now {value}",
                    mend="ask for the same, or fit without resume",
                )
        path = self.path / _state_name(str(digest))
        content = read_file(path)
        if hashlib.sha256(content).hexdigest() != digest:
            raise CodecError(
                str(path), f"is not the file that {MANIFEST} names", mend="it is damaged; fit without resume"
            )
        load_state_tensors(network, optimizer, average, tensors_from_bytes(content, str(path)), str(path))
        return step

    def clear(self) -> None:
        """Forget the fit that may be there."""
        for name in (MANIFEST, METRICS, *(path.name for path in self.path.glob("state-*.safetensors"))):
            (self.path / name).unlink(missing_ok=True)

    def trim_metrics(self, step: int) -> None:
        """Drop the lines of steps after `step`, which will be done again, and a line that was cut off."""
        path = self.path / METRICS
        if not path.exists():
            return
        whole = [line for line in path.read_text("utf-8").splitlines(keepends=True) if line.endswith("\n")]
        kept = [line for line in whole if json.loads(line)["step"] <= step]
        write_file(path, "".join(kept).encode("utf-8"))

    def note(self, metrics: Mapping[str, Json]) -> None:
        """Append a line of metrics."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / METRICS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(metrics)) + "\n")

    def recent_loss(self) -> float:
        """Mean of the last losses that were noted."""
        lines = (self.path / METRICS).read_text("utf-8").splitlines()[-RECENT:]
        return sum(float(json.loads(line)["loss"]) for line in lines) / len(lines)


def state_tensors(
    network: nn.Module, optimizer: torch.optim.AdamW, average: Mapping[str, Tensor]
) -> dict[str, Array]:
    """Weights and buffers by name, moments as `<name>.<moment>`, averages as `average.<name>`."""
    found: dict[str, Array] = {name: np.atleast_1d(t.numpy()) for name, t in network.state_dict().items()}
    found |= {AVERAGE + name: np.atleast_1d(tensor.numpy()) for name, tensor in average.items()}
    for name, parameter in network.named_parameters():
        for moment in MOMENTS if parameter in optimizer.state else ():
            found[f"{name}.{moment}"] = np.atleast_1d(optimizer.state[parameter][moment].numpy())
    return found


def load_state_tensors(
    network: nn.Module,
    optimizer: torch.optim.AdamW,
    average: Mapping[str, Tensor],
    tensors: Mapping[str, Array],
    where: str,
) -> None:
    """Put back what `state_tensors` gave, the averages into `average`.

    Raises:
        CodecError: if the tensors are not those of this network.
    """
    places = {**network.state_dict(), **{AVERAGE + name: tensor for name, tensor in average.items()}}
    shapes = {name: tuple(tensor.shape) or (1,) for name, tensor in places.items()}
    for name, parameter in network.named_parameters():
        shapes |= {f"{name}.{m}": tuple(parameter.shape) for m in MOMENTS} | {f"{name}.step": (1,)}
    if {name: tensor.shape for name, tensor in tensors.items()} != shapes:
        raise CodecError(where, "holds the state of another network", mend="fit without resume")
    for name, place in places.items():
        place.copy_(torch.tensor(tensors[name]).reshape(place.shape))
    for name, parameter in network.named_parameters():
        state = {moment: torch.tensor(tensors[f"{name}.{moment}"]) for moment in MOMENTS}
        optimizer.state[parameter] = state | {"step": state["step"].reshape(())}


def _state_name(digest: str) -> str:
    return f"state-{digest[:16]}.safetensors"


def _is_digest(value: Json) -> bool:
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
