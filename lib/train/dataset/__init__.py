"""Training datasets, one class per dataset, and the table of their names."""
