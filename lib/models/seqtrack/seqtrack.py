"""SeqTrack: a joint encoder of templates and search crop, a causal decoder that generates the box as four tokens."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from easydict import EasyDict
from torch import Tensor, nn

from lib.models.seqtrack.decoder import CausalDecoder
from lib.models.seqtrack.pretrained import load_pretrained
from lib.models.seqtrack.vit import JointViT, build_vit, find_variant
from lib.models.seqtrack.vocabulary import CoordinateVocabulary
from lib.utils.errors import ConfigError, InputError

FEATURE_TYPES = ("x", "xz", "token")


class BoxTokens(NamedTuple):
    """Generated boxes.

    Attributes:
        tokens: (B, 4) int64 coordinate tokens in the order of the vocabulary's format.
        likelihoods: (B, 4) probability of each token, times the window where one is given; in [0, 1].
    """

    tokens: Tensor
    likelihoods: Tensor


class VocabularyHead(nn.Module):
    """Three linear layers with ReLU in between, from a decoder state to one logit for each token.

    Args:
        dim: width C of a state.
        vocab_size: number of tokens V.
    """

    def __init__(self, dim: int, vocab_size: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(dim, dim), nn.Linear(dim, dim), nn.Linear(dim, vocab_size)])

    def forward(self, states: Tensor) -> Tensor:
        """(B, L, C) states -> (B, L, V) logits."""
        for layer in self.layers[:-1]:
            states = F.relu(layer(states))
        return self.layers[-1](states)


class SeqTrack(nn.Module):
    """Tracking as sequence generation.

    Source: Chen et al., "SeqTrack: Sequence to Sequence Learning for Visual Object Tracking", CVPR 2023.

    The arguments of all methods:

    * ``template`` (B, T, 3, Ht, Wt) and ``search`` (B, S, 3, Hs, Ws): normalized float crops;
    * ``template_tokens`` (B, T * Nt, Ce): from ``embed_template``, Ce the encoder's width;
    * ``features`` (B, N, Ce): from ``encode``, N = S * Ns + T * Nt tokens, search first, or from ``encode_embedded``;
    * ``tokens`` (B, L) int: starting with START, L at most 5 * S.

    All raise InputError if a number of templates, search crops or tokens, or the size of a crop, is not the model's.

    Args:
        vit: the image encoder.
        decoder: the token decoder; its longest sequence is 5 tokens for each search frame.
        vocabulary: boxes <-> tokens.
        dim: width C of the decoder.
        feature_type: what the decoder attends to: ``x`` (search tokens), ``xz`` (all tokens) or ``token`` (their mean).
        num_templates: templates T of a sample.
        num_search: search frames S of a training sample; tracking always has one.

    Raises:
        ConfigError: for an unknown ``feature_type``.
    """

    def __init__(
        self,
        vit: JointViT,
        decoder: CausalDecoder,
        vocabulary: CoordinateVocabulary,
        *,
        dim: int,
        feature_type: str = "x",
        num_templates: int = 2,
        num_search: int = 1,
    ) -> None:
        super().__init__()
        if feature_type not in FEATURE_TYPES:
            raise ConfigError(f"MODEL.FEATURE_TYPE: {feature_type!r} is not one of {', '.join(FEATURE_TYPES)}")
        self.vocabulary = vocabulary
        self.feature_type = feature_type
        self.num_templates = num_templates
        self.num_search = num_search
        self._num_template_tokens = num_templates * vit.num_template_tokens  # T * Nt
        self._window_steps = vocabulary.window_steps()

        self.encoder = nn.ModuleDict({"body": vit})  # the name of the parameters in published checkpoints
        # Faithful: kept, but not applied, when both widths are equal: published checkpoints hold it.
        self.bottleneck = nn.Linear(vit.dim, dim)
        self._narrows = vit.dim != dim
        self.decoder = decoder
        self.vocab_embed = VocabularyHead(dim, vocabulary.size)
        rows = {
            "x": num_search * vit.num_search_tokens,
            "xz": num_search * vit.num_search_tokens + self._num_template_tokens,
            "token": 1,
        }[feature_type]
        self.pos_embed = nn.Parameter(sinusoid_table(rows, dim).unsqueeze(0))

    @property
    def vit(self) -> JointViT:
        """The image encoder."""
        return self.encoder.body

    def embed_template(self, template: Tensor) -> Tensor:
        """Embed template crops as (B, T * Nt, Ce); a tracker keeps the result as long as the templates."""
        return self.vit.embed_template(template)

    def encode(self, template: Tensor, search: Tensor) -> Tensor:
        """Encode templates and search crops together: (B, N, Ce) after the encoder's final norm."""
        return self.encode_embedded(self.embed_template(template), search)

    def encode_embedded(self, template_tokens: Tensor, search: Tensor, *, search_only: bool = False) -> Tensor:
        """``encode`` with embedded templates.

        Args:
            template_tokens: as above.
            search: as above.
            search_only: return the search tokens alone, which is all that ``generate`` needs for FEATURE_TYPE x, and
                compute no more of the template tokens than they need. Ignored for the other feature types.

        Returns:
            (B, N, Ce) as ``encode``, or (B, S * Ns, Ce).
        """
        if template_tokens.shape[1] != self._num_template_tokens:
            given = template_tokens.shape[1] / self.vit.num_template_tokens
            raise InputError(f"the model is made for {self.num_templates} templates, got {given:g}")
        search_only = search_only and self.feature_type == "x"
        return self.vit(self.vit.embed_search(search), template_tokens, search_only=search_only)

    def decode(self, features: Tensor, tokens: Tensor) -> Tensor:
        """Teacher forcing: (B, L, V) logits of the next token after every token of given sequences."""
        if tokens.shape[1] > self.decoder.max_length:
            raise InputError(f"a sequence has {tokens.shape[1]} tokens, the decoder takes {self.decoder.max_length}")
        return self.vocab_embed(self.decoder(tokens, self.decoder.project_memory(*self.select_memory(features))))

    @torch.no_grad()
    def generate(self, features: Tensor, window: Tensor | None = None) -> BoxTokens:
        """Generate the box of the search crop greedily, one token after the other.

        The image memory is projected once and keys and values of earlier tokens are cached, so each step is one token
        wide. All shapes follow from those of the arguments and no value is read back from the device, so it can be
        compiled, or captured as a CUDA graph.

        Args:
            features: of one search crop; those of ``search_only`` are enough.
            window: (bins,) factors for the tokens of the center, from ``CoordinateVocabulary.window``; None for none.

        Returns:
            Tokens and their likelihoods. Likelihoods are float32 (float64 for a float64 model or window).
        """
        memory = self.decoder.project_memory(*self.select_memory(features))
        image_keys = memory[0].image.key  # (B, heads, M, C / heads)
        token = image_keys.new_full((image_keys.shape[0], 1), self.vocabulary.start, dtype=torch.int64)
        cache = None
        tokens, likelihoods = [], []
        for index in range(self.vocabulary.tokens_per_box):
            states, cache = self.decoder.step(token, index, memory, cache)
            probabilities = self._coordinate_probabilities(states)
            if window is not None and index in self._window_steps:
                probabilities = probabilities * window
            likelihood, token = probabilities.max(dim=-1)  # both (B, 1)
            tokens.append(token)
            likelihoods.append(likelihood)
        return BoxTokens(torch.cat(tokens, dim=1), torch.cat(likelihoods, dim=1))

    def _coordinate_probabilities(self, states: Tensor) -> Tensor:
        """(B, 1, C) decoder states -> (B, 1, bins) probabilities."""
        logits = self.vocab_embed(states)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        # Faithful: the softmax runs over START and END too, so the coordinates need not sum to 1.
        return logits.softmax(dim=-1)[..., : self.vocabulary.bins]

    @torch.no_grad()
    def smooth_tokens(self, sigma: float) -> None:
        """Average the scores of neighboring coordinate tokens: the last layer's rows, under a normal curve.

        In a short training each token has been the target a few times only, and the likeliest token is chosen by
        the noise of its own row. Ours; not in the paper.

        Args:
            sigma: width of the curve in tokens, greater than 0.
        """
        layer, bins = self.vocab_embed.layers[-1], self.vocabulary.bins
        indices = torch.arange(bins, device=layer.weight.device, dtype=torch.float32)
        curve = (-0.5 * ((indices[:, None] - indices) / sigma) ** 2).softmax(dim=-1)
        for parameter in (layer.weight, layer.bias):
            parameter[:bins] = (curve @ parameter[:bins].float()).to(parameter.dtype)

    def forward(
        self, template: Tensor, search: Tensor, tokens: Tensor, *, with_features: bool = False
    ) -> Tensor | tuple[Tensor, Tensor]:
        """Encode, then decode with teacher forcing.

        Args:
            template: as above.
            search: as above.
            tokens: as above.
            with_features: return the encoded search tokens, too.

        Returns:
            (B, L, V) logits; with ``with_features`` also (B, S * Ns, Ce).
        """
        features = self.encode(template, search)
        logits = self.decode(features, tokens)
        return (logits, features[:, : search.shape[1] * self.vit.num_search_tokens]) if with_features else logits

    def select_memory(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Select what the decoder attends to, and narrow it.

        Returns:
            The image memory (B, M, C) and its positions (1, M, C), for ``CausalDecoder.project_memory``.
        """
        num_search_tokens = self.vit.num_search_tokens
        if not (self.feature_type == "x" and features.shape[1] == num_search_tokens):  # else selected already
            num_search_tokens = features.shape[1] - self._num_template_tokens  # S * Ns; tracking has S = 1
        crops, rest = divmod(num_search_tokens, self.vit.num_search_tokens)
        if rest or not 1 <= crops <= self.num_search:
            raise InputError(
                f"features have {features.shape[1]} tokens; the model is made for {self.num_templates} templates of "
                f"{self.vit.num_template_tokens} and 1 to {self.num_search} search crops of "
                f"{self.vit.num_search_tokens} tokens"
            )
        if self.feature_type == "token":
            features = features.mean(dim=1, keepdim=True)
        elif self.feature_type == "x":
            features = features[:, :num_search_tokens]
        features = features.to(self.pos_embed.dtype)  # the decoder may be more precise than the encoder
        memory = self.bottleneck(features) if self._narrows else features
        return memory, self._memory_positions(crops)

    def _memory_positions(self, crops: int) -> Tensor:
        """(1, M, C) positions of what the decoder attends to, with 1 to S search crops."""
        num_search_tokens = crops * self.vit.num_search_tokens
        if self.feature_type == "token":
            return self.pos_embed
        if self.feature_type == "x" or crops == self.num_search:
            return self.pos_embed[:, : num_search_tokens + (self.feature_type == "xz") * self._num_template_tokens]
        template_positions = self.pos_embed[:, -self._num_template_tokens :]
        return torch.cat((self.pos_embed[:, :num_search_tokens], template_positions), dim=1)

    def precompute(self) -> None:
        """Precompute what depends on the weights alone; for inference, with the weights and the device of now."""
        self.decoder.precompute(self._memory_positions(crops=1))


def sinusoid_table(rows: int, dim: int) -> Tensor:
    """Position table of "Attention is all you need", sine and cosine interleaved.

    Args:
        rows: number of positions.
        dim: width of the table.

    Returns:
        (rows, dim) float32.
    """
    channels = torch.arange(dim, dtype=torch.float64)
    wavelengths = 10000 ** (2 * (channels // 2) / dim)
    angles = torch.arange(rows, dtype=torch.float64).unsqueeze(1) / wavelengths
    table = torch.where(channels.long() % 2 == 0, angles.sin(), angles.cos())
    return table.float()


def build_seqtrack(cfg: EasyDict, pretrained: bool = False) -> SeqTrack:
    """Make the network of a configuration.

    Args:
        cfg: a configuration from ``load_config``.
        pretrained: fill the encoder with the weights that MODEL.ENCODER.PRETRAIN_TYPE names; this may download them.
            Otherwise all weights are fresh and nothing is read.

    Returns:
        The network, on the CPU, in training mode.

    Raises:
        ConfigError: if names or sizes do not fit each other.
        CheckpointError: if the pretrained weights cannot be had, or are not those of this encoder.
    """
    model, data = cfg.MODEL, cfg.DATA
    vocabulary = CoordinateVocabulary(model.BINS, data.SEQ_FORMAT)
    variant = find_variant(model.ENCODER.TYPE, declared_stride=model.ENCODER.STRIDE)
    vit = build_vit(
        variant,
        search_size=data.SEARCH.SIZE,
        template_size=data.TEMPLATE.SIZE,
        drop_path=model.ENCODER.DROP_PATH,
        use_checkpoint=model.ENCODER.USE_CHECKPOINT,
    )
    if pretrained:
        load_pretrained(vit, variant, model.ENCODER.PRETRAIN_TYPE, encoder_name=model.ENCODER.TYPE)
    return SeqTrack(
        vit,
        _build_decoder(cfg, vocabulary),
        vocabulary,
        dim=model.HIDDEN_DIM,
        feature_type=model.FEATURE_TYPE,
        num_templates=data.TEMPLATE.NUMBER,
        num_search=data.SEARCH.NUMBER,
    )


def _build_decoder(cfg: EasyDict, vocabulary: CoordinateVocabulary) -> CausalDecoder:
    model = cfg.MODEL
    return CausalDecoder(
        vocab_size=vocabulary.size,
        dim=model.HIDDEN_DIM,
        num_layers=model.DECODER.DEC_LAYERS,
        num_heads=model.DECODER.NHEADS,
        ffn_dim=model.DECODER.DIM_FEEDFORWARD,
        max_length=vocabulary.tokens_per_frame * cfg.DATA.SEARCH.NUMBER,
        dropout=model.DECODER.DROPOUT,
        pre_norm=model.DECODER.PRE_NORM,
    )
