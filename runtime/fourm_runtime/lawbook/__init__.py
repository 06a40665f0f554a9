"""The laws of masks, packing, the model and stored values. Needs the extra `test`."""
