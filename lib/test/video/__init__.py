"""Tracking in a video of one's own: frame sources, the drawn overlay, and the files that come out."""
