"""What stands behind the command `tinygrad-cupy`: one module per thing that it does."""
