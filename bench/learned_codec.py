"""A learned image codec on scikit-learn's digits: what it costs to fit, and whether a classifier sees a loss.

Run it from the root of the repository: `python bench/learned_codec.py`. The digits are declared with patch 2,
so an image of 8 x 8 cells becomes 16 ids. A support vector classifier (gamma 0.001, C 10) is trained on real
training digits; its accuracy on held-out digits is printed beside that on the same digits after a round trip.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from fourm_codecs.fit import QUANTILE, FitRecipe, fit
from fourm_codecs.fit_report import round_trip
from fourm_schema.load import parse_schema

SCHEMA = """
version: 1
modalities:
  digit:
    {kind: image, size: 8, patch: 2, cell: {type: continuous, range: [0, 16], levels: 17}, vocab_size: %d}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000, help="steps of the fit (default 1000)")
    parser.add_argument("--batch-size", type=int, default=64, help="images per step (default 64)")
    parser.add_argument("--lr", type=float, default=2e-3, help="highest learning rate (default 2e-3)")
    parser.add_argument("--vocab-size", type=int, default=240, help="ids of the codebook (default 240)")
    parser.add_argument("--seed", type=int, default=0, help="of the fit (default 0)")
    parser.add_argument("--to", type=Path, help="folder for metrics and picture (default: a temporary one)")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cells, labels = load_digits(return_X_y=True)
    images = np.asarray(cells).reshape(-1, 8, 8)
    places, names = np.arange(len(images)), np.asarray(labels)
    for_fit, for_test = train_test_split(places, test_size=360, stratify=names, random_state=0)
    train, held = images[for_fit], images[for_test]
    entry = parse_schema(SCHEMA % asked.vocab_size).modalities["digit"]
    recipe = FitRecipe(steps=asked.steps, batch_size=asked.batch_size, lr=asked.lr, seed=asked.seed)
    start, cpu_start = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as temporary:
        fitted = fit("digit", entry, train, asked.to or temporary, recipe)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
    codec, kept = fitted.codec, round_trip(fitted.codec, list(held), QUANTILE)
    back = np.stack([np.asarray(image) for image in codec.decode(codec.encode(list(held)))])
    classifier = SVC(gamma=0.001, C=10)  # pyright: ignore[reportArgumentType]  # it takes gamma for text
    classifier.fit(train.reshape(-1, 64), names[for_fit])
    real = classifier.score(held.reshape(-1, 64), names[for_test])
    rebuilt = classifier.score(back.reshape(-1, 64), names[for_test])
    psnr = kept.scores["PSNR in dB"]
    print(f"fit            {cpu_seconds:6.1f} s of one core ({seconds:.1f} s on the clock)")
    print(f"steps          {recipe.steps:6} of {recipe.batch_size} images")
    print(f"tokens         {' x '.join(map(str, codec.token_shape))} of {codec.vocab_size} ids")
    print(f"codebook use   {kept.codebook_use:6.1%} of the ids in {kept.values} held-out digits")
    print(f"perplexity     {kept.perplexity:6.1f}")
    print(f"RMSE           {kept.error:6.2f} of 16 grey levels, PSNR {psnr or np.inf:.1f} dB")
    print(f"accuracy       {real:6.1%} on held-out digits, {rebuilt:.1%} after the round trip")


if __name__ == "__main__":
    main()
