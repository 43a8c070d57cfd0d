"""What one optimisation step computes: loss and statistics of a batch."""
