"""Helpers of evaluation: reading box files."""
