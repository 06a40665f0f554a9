"""The verbs that read a schema, as a user types them."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fourm_runtime.assemble import assemble
from fourm_runtime.cli.app import app
from fourm_schema.architecture import architecture
from fourm_schema.load import load_schema
from fourm_schema.resolve import resolve

GOOD = """\
version: 1
modalities:
  digit:
    {kind: image,
     shown: [pixels, tokens], size: 4, patch: 1, cell: {type: continuous, range: [0, 1], levels: 9}}
  shape: {kind: vector, dim: 6, ranges: [0, 1], bins: 32}
"""


@pytest.fixture
def good(tmp_path: Path) -> str:
    file = tmp_path / "modalities.yaml"
    file.write_text(GOOD)
    return str(file)


@pytest.fixture
def bad(tmp_path: Path) -> str:
    """Two faults, in lines 5 and 6."""
    file = tmp_path / "bad.yaml"
    file.write_text(GOOD.replace("levels", "levls").replace("dim: 6", "dim: six"))
    return str(file)


def test_validate_names_what_it_found(good: str) -> None:
    done = CliRunner().invoke(app, ["validate", good])

    assert done.exit_code == 0
    assert "2 modalities, 3 streams, no fault" in done.stdout


def test_faults_go_to_stderr_with_status_two_and_without_a_traceback(bad: str) -> None:
    """A typo in a file is an everyday event: the reader needs the lines, not our stack."""
    done = CliRunner().invoke(app, ["explain", bad])

    assert done.exit_code == 2
    assert done.stdout == ""
    assert "SchemaError" in done.stderr and "Traceback" not in done.stderr
    assert "line 5" in done.stderr and "line 6" in done.stderr


def test_debug_shows_where_an_error_came_from(bad: str) -> None:
    """Whoever mends the program itself needs the stack."""
    done = CliRunner().invoke(app, ["--debug", "explain", bad])

    assert type(done.exception).__name__ == "SchemaError"


def test_validate_lists_faults_as_json_for_editors_and_ci(bad: str) -> None:
    done = CliRunner().invoke(app, ["validate", "--json", bad])
    record = json.loads(done.stdout)

    assert done.exit_code == 2
    assert record["valid"] is False
    assert [fault["line"] for fault in record["faults"]] == [5, 6]
    assert "did you mean 'levels'?" in record["faults"][0]["mend"]


def test_explain_gives_the_reason_of_each_choice(good: str) -> None:
    done = CliRunner().invoke(app, ["explain", good])
    levels = resolve(load_schema(good)).stream("digit.tokens")

    assert done.exit_code == 0
    assert f"codec levels: {levels.because[0]}" in done.stdout


def test_explain_as_json_has_one_record_per_stream(good: str) -> None:
    record = json.loads(CliRunner().invoke(app, ["explain", "--json", good]).stdout)

    assert [row["stream"] for row in record] == ["digit.pixels", "digit.tokens", "shape.tokens"]
    assert record[2]["codec"] == "bins"


def test_a_key_can_be_changed_from_the_command_line(good: str) -> None:
    done = CliRunner().invoke(app, ["explain", "--json", good, "--set", "modalities.shape.bins=64"])

    assert json.loads(done.stdout)[2]["vocabulary"] == "64 ids"


def test_schema_prints_a_json_schema() -> None:
    """Editors take it to complete and check the file while it is written."""
    record = json.loads(CliRunner().invoke(app, ["schema"]).stdout)

    assert record["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert {"version", "modalities"} <= set(record["required"])


def test_a_missing_file_is_said_plainly(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["validate", str(tmp_path / "none.yaml")])

    assert done.exit_code == 2
    assert "does not exist" in done.stderr


def test_plan_counts_the_parameters_that_assembling_gives(good: str) -> None:
    """What one reads before training is what one gets."""
    record = json.loads(CliRunner().invoke(app, ["plan", "--json", good, "--size", "nano"]).stdout)
    streams = resolve(load_schema(good))
    model = assemble(streams, architecture("nano"))

    assert record["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert record["parameters"] == sum(part["parameters"] for part in record["parts"])


def test_plan_holds_activations_for_as_many_samples_as_are_asked(good: str) -> None:
    def count(*options: str) -> dict[str, int]:
        found = json.loads(CliRunner().invoke(app, ["plan", "--json", good, *options]).stdout)["bytes"]
        assert isinstance(found, dict)
        return found

    one, eight = count(), count("--samples", "8")

    assert eight["activations"] == 8 * one["activations"]
    assert eight["weights"] == one["weights"]
    assert count("--bf16")["activations"] * 2 == one["activations"]


def test_plan_prints_a_total(good: str) -> None:
    text = CliRunner().invoke(app, ["plan", good, "--size", "nano"]).stdout

    assert "training FLOPs" in text
    assert "bytes while training, 1 sample at once" in text


def test_an_unknown_size_lists_the_known_ones(good: str) -> None:
    done = CliRunner().invoke(app, ["plan", good, "--size", "tinny"])

    assert done.exit_code == 2
    assert "did you mean 'tiny'?" in done.stderr
