"""Training data sets, one class per data set, and the table of their names."""
