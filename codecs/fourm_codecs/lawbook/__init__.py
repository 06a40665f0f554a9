"""The laws that every codec keeps. Needs the extra `test`.

`fourm_codecs.lawbook.check_codec.check_codec` tries them on a codec of yours.
"""
