"""The VOT challenges: TraX, workspaces, data sets, and the toolkit itself."""
