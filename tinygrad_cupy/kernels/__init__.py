"""What operations compute, on arrays: kernels that know neither tensors nor graphs."""
