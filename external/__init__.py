"""What SeqTrack is used together with. These packages import lib, never the other way round."""
