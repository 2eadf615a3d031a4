"""`python -m tinygrad_cupy`: the command, where its script is not on the path."""

import runpy

runpy.run_module("tinygrad_cupy.cli", run_name="__main__", alter_sys=True)
