"""Packing results for the evaluation servers."""
