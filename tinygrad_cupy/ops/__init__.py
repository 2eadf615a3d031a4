"""The operation families: one file each."""
