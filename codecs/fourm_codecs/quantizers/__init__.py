"""Quantizers of other packages behind one small interface each, held to contracts by tests."""
