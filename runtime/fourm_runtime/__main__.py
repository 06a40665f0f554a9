"""`python -m fourm_runtime` is `fourm`."""

from fourm_runtime.cli.app import main

main()
