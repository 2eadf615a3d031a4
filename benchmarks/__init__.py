"""Measurements against other libraries; README.md here has the commands and the last figures."""
