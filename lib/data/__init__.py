"""Datasets for training and evaluation: one reader per dataset, the tables of their names, and packing."""
