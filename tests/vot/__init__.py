"""The VOT challenges: TraX, workspaces, datasets, and the toolkit itself."""
