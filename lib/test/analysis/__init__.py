"""Scores, tables and plots of results on disk."""
