"""Tests that others wrote for their libraries, run against this one."""
