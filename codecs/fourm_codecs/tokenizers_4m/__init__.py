"""Tokenizers that were released with 4M, as the codec `vq-4m`: the same ids, the same decoded numbers."""
