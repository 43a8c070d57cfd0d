"""VOT challenges: the tracker's side of the TraX protocol, workspaces, and running the toolkit."""
