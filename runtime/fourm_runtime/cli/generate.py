"""`fourm generate`: predict modalities from those you have."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fourm_runtime.cli.show import show_json, show_table

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from fourm_codecs.base import FieldValue
    from fourm_runtime.generation.values import Generated
    from fourm_schema.modality import Image, Modality
    from fourm_schema.plan import Plan
    from fourm_schema.schema import Schema


def generate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run, or of one checkpoint.")],
    to: Annotated[
        str,
        typer.Option("--to", metavar="NAMES", help="Modalities to predict, in order, with commas between."),
    ],
    given: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="NAME=VALUE",
            help="What is given: a text, a file (.npy, .png, ...), or JSON numbers or records. "
            "Repeat for more.",
        ),
    ] = None,
    begun: Annotated[
        list[str] | None,
        typer.Option(
            "--continue",
            metavar="NAME=VALUE",
            help="The beginning of a text that is to be predicted, or some of the items of a set, as JSON.",
        ),
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", help="Steps of each grid; 1 is all tokens at once. Default: 8.")
    ] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", help="0 takes the most likely token. Default: 1.")
    ] = None,
    top_k: Annotated[
        int | None, typer.Option("--top-k", help="Draw among the K most likely ids. Default: among all.")
    ] = None,
    top_p: Annotated[
        float | None,
        typer.Option("--top-p", help="Draw among the most likely ids that together reach P. Default: all."),
    ] = None,
    guidance: Annotated[
        float | None,
        typer.Option(
            "--guidance", help="How much more the inputs count than they did in training. Default: 1."
        ),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME.SETTING=VALUE",
            help="A setting of one modality, e.g. depth.scheme=roar, caption.samples=4 or "
            'depth.guidance={"rgb": 2}. Repeat for more.',
        ),
    ] = None,
    chain: Annotated[
        bool, typer.Option("--chain/--independent", help="Each modality also sees those predicted before it.")
    ] = True,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same device: same tokens.")] = 0,
    count: Annotated[int, typer.Option("--count", min=1, help="How many predictions to draw.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FOLDER", help="Where to write arrays, pictures, texts and records."),
    ] = None,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda or cuda:N.")] = "cpu",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: value, tokens and confidence of each.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what would be done, and do nothing.")
    ] = False,
) -> None:
    """Predict modalities from those you have.

    The request is checked before the weights are loaded; all its faults are reported at once.

    Example:
        fourm generate runs/digits --from digit=seven.png --to caption,strokes --seed 1
    """
    from fourm_runtime.any_to_any import AnyToAny, compile_all, make_requests
    from fourm_runtime.checkpoints.run_folder import find_checkpoint
    from fourm_runtime.checkpoints.store import SCHEMA
    from fourm_runtime.generation.request import read_targets
    from fourm_schema.load import load_schema
    from fourm_schema.resolve import resolve

    schema = load_schema(find_checkpoint(run) / SCHEMA)
    plan = resolve(schema)
    inputs = _inputs(schema, plan, given or [], begun or [])
    targets = _targets([name.strip() for name in to.split(",") if name.strip()], changes or [])
    settings = {
        "steps": steps, "temperature": temperature, "top_k": top_k, "top_p": top_p, "guidance": guidance,
    }  # fmt: skip
    (compiled,) = compile_all(plan, make_requests(plan, inputs, targets, settings, chain=chain))
    if explain:
        print(compiled)
        return
    model = AnyToAny.from_pretrained(run, device)
    wanted = read_targets(targets, plan, settings)
    made = model.generate([inputs] * count, wanted, chain=chain, seed=seed)
    if out is not None:
        _write(out, schema, made)
    if as_json:
        show_json([{name: _record(value) for name, value in sample.items()} for sample in made])
    else:
        _show(schema, made)


def _targets(names: Sequence[str], changes: Sequence[str]) -> list[tuple[str, dict[str, object]]]:
    """Names, each with the settings of `--set`.

    Raises:
        RequestError: if one is not written NAME.SETTING=VALUE, or names what is not asked for.
    """
    import json

    from fourm_runtime.generation.request import RequestFaults
    from fourm_schema.errors import Fault, nearest

    faults: list[Fault] = []
    own: dict[str, dict[str, object]] = {name: {} for name in names}
    for change in changes:
        key, equals, text = change.partition("=")
        name, _, setting = key.rpartition(".")
        if not equals or not name:
            faults.append(Fault("--set", "is written NAME.SETTING=VALUE", repr(change)))
        elif name not in own:
            faults.append(Fault("--set", f"{name} is not asked for", repr(change), nearest(name, list(own))))
        elif setting in own[name]:
            faults.append(Fault("--set", f"sets {key} a second time", repr(change)))
        else:
            try:
                own[name][setting] = json.loads(text)
            except ValueError:
                own[name][setting] = text
    if faults:
        raise RequestFaults(faults)
    return [(name, own[name]) for name in names]


def _inputs(schema: "Schema", plan: "Plan", given: Sequence[str], begun: Sequence[str]) -> dict[str, object]:
    """Values by name, as the command line gives them.

    Raises:
        RequestError: if one is not written NAME=VALUE, or a name comes twice.
    """
    from fourm_runtime.generation.request import Prefix, input_stream
    from fourm_schema.errors import RequestError

    inputs: dict[str, object] = {}
    for option, texts in (("--from", given), ("--continue", begun)):
        for text in texts:
            name, equals, value = text.partition("=")
            if not equals or not name:
                raise RequestError(option, "is written NAME=VALUE", got=repr(text))
            if name in inputs:
                raise RequestError(option, f"gives {name} a second time", got=repr(text))
            stream = input_stream(plan, name)
            # A name that does not exist is told with all other faults of the request.
            entry = None if stream is None else schema.modalities[stream.modality]
            begins = option == "--continue"
            if stream is not None and not stream.is_dense and stream.codec == "ids":
                ids = _read_ids(f"{option} {name}", value)
                inputs[name] = Prefix(ids) if begins else ids
                continue
            if entry is None or (begins and entry.kind != "set"):
                inputs[name] = Prefix(value) if begins else value
                continue
            read = _read(f"{option} {name}", name, entry, value)
            inputs[name] = Prefix(read) if begins else read
    return inputs


def _read_ids(where: str, text: str) -> object:
    """Token ids: JSON, or the file of an array of them."""
    import json

    import numpy as np

    from fourm_schema.errors import RequestError

    try:
        if text.lstrip().startswith("["):
            return json.loads(text)
        return np.load(text, allow_pickle=False)
    except (ValueError, OSError, EOFError, RecursionError) as error:
        raise RequestError(
            where, "are token ids: [1, 2, ...], or a file of them (.npy)", got=str(error)
        ) from None


def _read(where: str, name: str, entry: "Modality", text: str) -> object:
    import json

    from fourm_codecs.plain import from_json
    from fourm_runtime.data.importing.sources.decoding import read_value
    from fourm_schema.errors import CodecError, RequestError
    from fourm_schema.modality import Set, Text

    if isinstance(entry, Text):
        return text
    if not isinstance(entry, Set) and not text.lstrip().startswith(("[", "{")):
        return read_value(Path(text), entry, where)
    try:
        return from_json(name, entry, json.loads(text))
    except ValueError as error:
        fields = ", ".join(f'"{field}": ...' for field in entry.fields) if isinstance(entry, Set) else ""
        mend = f"write [{{{fields}}}, ...]" if fields else "write [1, 2, ...]"
        raise RequestError(where, "is no JSON", got=str(error), mend=mend) from None
    except CodecError as error:
        fault = error.faults[0]
        # What stands behind the modality, or behind the only value of a batch, is the place within the value.
        inner = fault.where.removeprefix(name).removeprefix(", value 0")
        raise RequestError(where + inner, fault.what, fault.got, fault.mend) from None


def _record(made: "Generated") -> dict[str, object]:
    from fourm_codecs.plain import to_json

    return {
        "value": to_json(made.value),
        "tokens": made.tokens.tolist(),
        "confidence": [round(float(one), 6) for one in made.confidence],
    }


def _show(schema: "Schema", made: "Sequence[Mapping[str, Generated]]") -> None:
    """Print texts as lines, vectors and sets as tables, images by their size."""
    import numpy as np

    from fourm_runtime.pictures.ids import describe_ids
    from fourm_schema.modality import Set, Vector

    for number, sample in enumerate(made):
        for name, one in sample.items():
            title = f"{name} {number}" if len(made) > 1 else name
            sure = f"(confidence {float(one.confidence.mean()):.2f})"
            entry = schema.modalities[name]
            if isinstance(one.value, str):
                print(f"{title}: {one.value}  {sure}")
            elif entry.codec == "ids":
                print(f"{title}: {describe_ids(one.value)}  {sure}")
            elif isinstance(entry, Vector) and len(one.tokens) != entry.dim * entry.steps:
                print(f"{title}: vector of {entry.dim} numbers  {sure}")
            elif isinstance(entry, Vector):
                units = (entry.units or ("",) * entry.dim) * entry.steps
                rows = [
                    (label, f"{number:.6g}", unit, f"{float(p):.2f}")
                    for label, number, unit, p in zip(
                        entry.labels,
                        np.asarray(one.value, np.float64).reshape(-1),
                        units,
                        one.confidence,
                        strict=True,
                    )
                ]
                show_table(title, ("name", "value", "unit", "confidence"), rows)
            elif isinstance(entry, Set):
                assert isinstance(one.value, list), "a set is a list of records"
                items = [[_field(record.get(field)) for field in entry.fields] for record in one.value]
                print(f"{title}: {_count(len(items))}  {sure}")
                if items:
                    show_table("", tuple(entry.fields), items)
            else:
                size = "x".join(map(str, np.asarray(one.value).shape))
                print(f"{title}: image {size}  {sure}")


def _count(items: int) -> str:
    return "1 item" if items == 1 else f"{items or 'no'} items"


def _field(value: "FieldValue") -> str | None:
    """One field of a record, in few words.

    >>> _field([0.25, 1.0])
    '0.25, 1'
    """
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return ", ".join(f"{number:.6g}" for number in value)
    return None if value is None else str(value)


def _write(folder: Path, schema: "Schema", made: "Sequence[Mapping[str, Generated]]") -> None:
    """Write every array, exactly as .npy, and images as .png to look at; texts as .txt, sets as .json."""
    import json

    import numpy as np

    from fourm_codecs.plain import to_json
    from fourm_schema.modality import Image

    folder.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(made):
        for name, one in sample.items():
            file = folder / f"{name}-{number}"
            if isinstance(one.value, str):
                file.with_suffix(".txt").write_text(one.value + "\n", encoding="utf-8")
                continue
            if isinstance(one.value, list):
                records = json.dumps(to_json(one.value), indent=2, ensure_ascii=False)
                file.with_suffix(".json").write_text(records + "\n", encoding="utf-8")
                continue
            np.save(file.with_suffix(".npy"), one.value)
            entry = schema.modalities[name]
            if isinstance(entry, Image) and entry.codec != "ids":
                _write_picture(file.with_suffix(".png"), entry, np.asarray(one.value))


def _write_picture(file: Path, entry: "Image", values: "NDArray[np.generic]") -> None:
    """Write an image so that it can be seen: ranges are stretched to 0..255, classes are coloured.

    The pixels of a class map's file are its class numbers, so it can be given as an input again.
    """
    import numpy as np
    from PIL import Image as Pictures

    from fourm_runtime.pictures.colours import class_colours
    from fourm_schema.modality import Categorical, Continuous

    if isinstance(entry.cell, Categorical):
        if entry.cell.class_count > 256:
            return
        picture = Pictures.fromarray(values.astype(np.uint8), mode="P")
        picture.putpalette(class_colours(np.arange(256)).reshape(-1).tolist())
    elif entry.channels in (1, 3):
        numbers = values.astype(np.float64)
        ends = entry.cell.range if isinstance(entry.cell, Continuous) else (numbers.min(), numbers.max())
        scaled = (numbers - ends[0]) / ((ends[1] - ends[0]) or 1) * 255
        picture = Pictures.fromarray(np.clip(np.round(scaled), 0, 255).astype(np.uint8))
    else:
        return
    picture.save(file)
