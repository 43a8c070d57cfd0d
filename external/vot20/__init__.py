"""SeqTrack and SeqTrack+AR in the VOT challenges: the program that the toolkit starts, and what surrounds it."""
