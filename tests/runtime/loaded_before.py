"""What the processes of `tests.forks` find loaded: importing this module uses none of it."""

import fourm_runtime.attention_backend
import fourm_runtime.data.dataset
import fourm_runtime.data.importing.importer
import fourm_runtime.data.importing.sources.opening
import fourm_runtime.training.trainer
import tests.runtime.small_run  # noqa: F401  (importing is all)

fourm_runtime.attention_backend.fmha()
