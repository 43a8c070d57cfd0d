"""Helpers of evaluation: reading box files, packing results for servers."""
