"""What an operation of your own tells a function that runs under `jit`; see docs/jit.md."""

from .backend.capture import first_made, keep, observe, refuse_read, refuse_upload, use

__all__ = ["first_made", "keep", "observe", "refuse_read", "refuse_upload", "use"]
