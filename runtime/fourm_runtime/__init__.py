"""Tokens to model: masking, packing, the transformer, datasets, training, generation and the command line.

Import names from the modules that define them. Nothing is imported here, so that `fourm explain` starts
without torch and the model half loads without Lance.
"""
