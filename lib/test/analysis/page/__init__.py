"""The report as one HTML file that needs no network: scores, curves, failures, and every sequence frame by frame."""
