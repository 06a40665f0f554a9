"""Modalities that are computed from others: `derive: {from: rgb, by: canny}`. No weights, no network."""
