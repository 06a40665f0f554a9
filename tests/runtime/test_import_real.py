"""Files as others publish them: packed arrays of pictures, and plain text."""

from collections import Counter
from pathlib import Path

import pytest

from fourm_runtime.data.dataset import Dataset
from tests.runtime.command_line import fourm


@pytest.fixture(scope="module")
def others(coco: Path) -> Path:
    """The folder in which other data lies beside the photographs."""
    if not (coco.parent / "fashion-mnist").is_dir() or not (coco.parent / "text").is_dir():
        pytest.skip("no Fashion-MNIST and texts lie beside the photographs")
    return coco.parent


def test_fashion_mnist_is_one_command(others: Path, tmp_path: Path) -> None:
    """The published files, packed as they are; labels become a record with a class name."""
    (tmp_path / "m.yaml").write_text(
        """
        version: 1
        modalities:
          picture: {kind: image, size: 28, patch: 4, source: {field: images},
                    cell: {type: continuous, range: [0, 255], levels: 256}}
          garment:
            kind: set
            max_items: 1
            source: {field: labels}
            fields:
              name: {type: category,
                     classes: [top, trouser, pullover, dress, coat, sandal, shirt, sneaker, bag, boot]}
        """
    )
    path = f"{others / 'fashion-mnist'}/t10k-*"
    said = fourm("data", "import", path, "--schema", tmp_path / "m.yaml", "--to", tmp_path / "a.lance")

    assert "10000 samples, version 1" in said
    dataset = Dataset.open(tmp_path / "a.lance")
    names = Counter(str(item) for chunk in dataset.values("garment") for item in chunk)
    assert len(names) == 10 and set(names.values()) == {1000}


def test_a_corpus_becomes_samples_of_one_text(others: Path, tmp_path: Path) -> None:
    """For training on text beside pictures: paragraphs, cut where they are long."""
    (tmp_path / "m.yaml").write_text(
        "{version: 1, vocabularies: {words: {kind: wordpiece, size: 300}}, "
        "modalities: {prose: {kind: text, vocabulary: words, max_tokens: 128}}}"
    )
    path = others / "text" / "tinyshakespeare" / "input.txt"
    line = ("data", "import", path, "--schema", tmp_path / "m.yaml", "--words", 40)
    fourm(*line, "--to", tmp_path / "a.lance")
    fourm(*line, "--to", tmp_path / "b.lance", "--no-shuffle")
    texts = list(Dataset.open(tmp_path / "b.lance").texts("prose"))

    assert " ".join(texts).split() == path.read_text().split()
    assert max(len(text.split()) for text in texts) == 40
    shuffled = list(Dataset.open(tmp_path / "a.lance").texts("prose"))
    assert shuffled != texts and Counter(shuffled) == Counter(texts)
