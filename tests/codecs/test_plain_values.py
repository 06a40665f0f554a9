"""Values in requests and answers: JSON in, JSON out."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fourm_codecs.base import Json
from fourm_codecs.plain import from_json, to_json
from fourm_schema.errors import CodecError
from fourm_schema.strategies import values
from tests.codecs.declared import SCHEMA


@pytest.mark.parametrize("name", ["digit", "parts", "weather", "caption"])
@given(data=st.data())
def test_a_value_survives_json(name: str, data: st.DataObject) -> None:
    entry = SCHEMA.modalities[name]
    value = data.draw(values(entry))
    assert isinstance(value, str | np.ndarray)

    back = from_json(name, entry, json.loads(json.dumps(to_json(value))))

    assert np.array_equal(np.asarray(back), np.asarray(value))


def test_class_maps_stay_integers() -> None:
    rows: list[Json] = [[0, 1, 2, 0]] * 4

    value = from_json("parts", SCHEMA.modalities["parts"], rows)

    assert isinstance(value, np.ndarray)
    assert value.dtype == np.int64


def test_a_vector_with_names_may_be_written_by_name() -> None:
    content: Json = {"rain": 0.05, "temperature": 21, "humidity": 40}

    assert np.array_equal(
        np.asarray(from_json("weather", SCHEMA.modalities["weather"], content)), [21, 40, 0.05]
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "weather",
            {"temperatur": 1},
            "weather: has no number 'temperatur'; did you mean 'temperature'? "
            "known: humidity, rain, temperature",
        ),
        ("weather", {"rain": 0}, "weather: lacks numbers; got no temperature, humidity"),
        ("weather", [1, 2], "weather, value 0: a value has shape 3; got 2"),
        ("weather", "1,2,3", "weather: a value is a list of numbers; got str"),
        ("weather", [1, 2, "x"], "weather, value 0: a value is numbers of shape 3; got list of <U21"),
        ("caption", [1], "caption: a value is a string; got list"),
    ],
)
def test_json_of_another_form_is_refused(name: str, content: Json, message: str) -> None:
    with pytest.raises(CodecError) as caught:
        from_json(name, SCHEMA.modalities[name], content)

    assert str(caught.value) == message


def test_exact_codecs_need_no_torch(root: Path) -> None:
    """Encoding a dataset or checking a request must not wait for torch to load."""
    code = (
        "import sys, fourm_codecs, fourm_codecs.dense, fourm_codecs.plain; sys.exit('torch' in sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": f"{root}:{root / 'codecs'}"}, check=True)
