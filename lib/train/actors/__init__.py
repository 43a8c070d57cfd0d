"""What one optimization step computes: loss and statistics of a batch."""
