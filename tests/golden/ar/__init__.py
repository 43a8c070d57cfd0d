"""Reference numbers of the published Alpha-Refine, and the recipes that regenerate weights, inputs and frames."""
