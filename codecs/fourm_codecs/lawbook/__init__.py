"""The laws that every codec keeps. `check_codec` tries them on a codec of yours. Needs the extra `test`."""
