"""Print what each added modality cost to declare and how well it is predicted.

    python examples/add_modality/compare.py [--check] runs/add-modality/edges ...

A folder is one that run.sh wrote: modalities.yaml and evaluation.json.
"""

import argparse
import json
from pathlib import Path

import attrs
from rich.console import Console
from rich.table import Table

from fourm_schema import load_schema

HERE = Path(__file__).parent
MOST = 0.8
"""Held-out loss over that of the ids' frequencies at each position; below 1 the model uses what it sees."""


@attrs.frozen
class Added:
    """One modality that was added.

    Attributes:
        modality, kind: what it is.
        yaml_lines: lines of its entry, without those that hold nothing but a comment.
        python_lines: lines of Python files with its name in this folder.
        loss: of its held-out targets, nats per token.
        baseline: the loss of always answering with how often each id occurs at that position.
    """

    modality: str
    kind: str
    yaml_lines: int
    python_lines: int
    loss: float
    baseline: float

    @property
    def ratio(self) -> float:
        return self.loss / self.baseline


def read_added(folder: Path) -> list[Added]:
    """What was added in one folder of run.sh."""
    schema = load_schema(folder / "modalities.yaml")
    streams = json.loads((folder / "evaluation.json").read_text())["streams"]
    found = []
    for name in folder.name.split("+"):
        score = streams[f"{name}.tokens"]
        kind = schema.modalities[name].kind
        lines = code_lines(HERE / f"{name}.yaml"), code_lines(HERE / f"{name}.py")
        found.append(Added(name, kind, *lines, score["loss"], score["baseline_loss"]))
    return found


def code_lines(file: Path) -> int:
    """Lines that are neither empty nor a comment; 0 where there is no such file."""
    lines = file.read_text().splitlines() if file.is_file() else []
    return sum(bool(line.strip()) and not line.lstrip().startswith("#") for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument(
        "--check", action="store_true", help=f"end with status 1 if a ratio is {MOST} or more"
    )
    parser.add_argument("folders", nargs="+", type=Path, metavar="FOLDER")
    asked = parser.parse_args()
    added = [one for folder in asked.folders for one in read_added(folder)]
    headers = ("modality", "kind", "lines of YAML", "lines of Python", "held-out loss", "baseline", "ratio")
    table = Table(*headers, title="added to the quickstart")
    for one in added:
        numbers = (f"{one.loss:.3f}", f"{one.baseline:.3f}", f"{one.ratio:.2f}")
        table.add_row(one.modality, one.kind, str(one.yaml_lines), str(one.python_lines), *numbers)
    Console().print(table)
    poor = [one.modality for one in added if one.ratio >= MOST]
    if asked.check and poor:
        parser.exit(1, f"{', '.join(poor)}: the loss is not below {MOST} of the baseline\n")


if __name__ == "__main__":
    main()
