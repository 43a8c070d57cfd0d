"""The SeqTrack network: vocabulary, encoder, decoder and how they are put together."""

from lib.models.seqtrack.seqtrack import BoxTokens, SeqTrack, build_seqtrack
from lib.models.seqtrack.vocabulary import CoordinateVocabulary

__all__ = ["BoxTokens", "CoordinateVocabulary", "SeqTrack", "build_seqtrack"]
