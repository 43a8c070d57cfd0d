"""The network in the layout of the Hugging Face Hub: ``config.json``, ``model.safetensors`` and ``model.score.json``.

Needs the extra ``hub`` (``pip install "seqtrack[hub]"``). ``seqtrack.load`` reads such a folder without it.
"""

import contextlib
import json
from pathlib import Path
from typing import Any

from easydict import EasyDict
from safetensors.torch import save_file

from lib.models.seqtrack import build_seqtrack
from lib.models.seqtrack import seqtrack as network
from lib.test.parameter.seqtrack import parameters
from lib.test.tracker.presence import copy_score, score_path
from lib.utils.checkpoint import load_checkpoint, load_model_weights
from lib.utils.errors import CheckpointError, printable
from lib.utils.files import atomic_path, write_text_atomic
from seqtrack.tracking import CONFIG_FILE, WEIGHTS_FILE, find_files

try:
    from huggingface_hub import PyTorchModelHubMixin, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError
except ImportError as error:
    raise ImportError('SeqTrack in the layout of the Hub needs huggingface_hub: pip install "seqtrack[hub]"') from error


class SeqTrack(
    network.SeqTrack,
    PyTorchModelHubMixin,
    library_name="seqtrack",
    license="apache-2.0",
    paper_url="https://arxiv.org/abs/2304.14394",
    tags=["visual-object-tracking"],
):
    """The network of an experiment, with its weights, in the layout of the Hub.

    Beside ``from_checkpoint`` it has the methods of ``huggingface_hub.PyTorchModelHubMixin``: ``from_pretrained``,
    ``save_pretrained`` and ``push_to_hub``.

    Args:
        config: a complete configuration (``load_config``).
        score_file: fitted score of the weights, which ``save_pretrained`` writes beside them; None: there is none.
    """

    def __init__(self, config: EasyDict, *, score_file: Path | None = None) -> None:
        built = build_seqtrack(config)
        super().__init__(
            built.vit,
            built.decoder,
            built.vocabulary,
            dim=config.MODEL.HIDDEN_DIM,
            feature_type=built.feature_type,
            num_templates=built.num_templates,
            num_search=built.num_search,
        )
        self.config = config
        self.score_file = score_file

    @classmethod
    def from_checkpoint(cls, name: str | Path = "seqtrack_demo", checkpoint: str | Path | None = None) -> "SeqTrack":
        """The network of an experiment with the weights of a file; both as for ``seqtrack.load``.

        Raises:
            SeqTrackError: as ``seqtrack.load``.
        """
        name, checkpoint = find_files(name, checkpoint)
        params = parameters(name, checkpoint=checkpoint)
        weights = params.checkpoint
        assert weights is not None
        model = cls(params.config)
        load_model_weights(model, load_checkpoint(weights), weights)
        score = score_path(weights)
        model.score_file = score if score.is_file() else None
        return model.eval()

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, **options: Any) -> "SeqTrack":
        """Read a folder that ``save_pretrained`` wrote, or fetch its files from the Hub.

        The mixin's own would take a pickle where there are no safetensors, and leave out weights that are missing.

        Args:
            pretrained_model_name_or_path: a folder, for which nothing is fetched; or the name of a repository.
            options: of ``hf_hub_download``: ``revision``, ``token``, ``cache_dir``, ``force_download``, and
                ``local_files_only=True``, which takes what was fetched before.

        Raises:
            CheckpointError: if files are missing, damaged, or of another network.
            ConfigError: if the configuration is not one of this project.
        """
        folder = Path(pretrained_model_name_or_path)
        return cls.from_checkpoint(folder if folder.is_dir() else _fetch(str(pretrained_model_name_or_path), options))

    def _save_pretrained(self, save_directory: Path) -> None:
        with atomic_path(save_directory / WEIGHTS_FILE) as temporary:
            save_file({name: value.contiguous() for name, value in self.state_dict().items()}, temporary)
        score = score_path(save_directory / WEIGHTS_FILE)
        if self.score_file is None:
            score.unlink(missing_ok=True)
        else:
            copy_score(self.score_file, save_directory / WEIGHTS_FILE)
        write_text_atomic(save_directory / CONFIG_FILE, _config_text(self.config))


def _fetch(repository: str, options: dict[str, Any]) -> Path:
    """Folder in the cache of the Hub's client that holds the files of a repository."""
    try:
        folder = Path(hf_hub_download(repository, CONFIG_FILE, **options)).parent
        hf_hub_download(repository, WEIGHTS_FILE, **options)
        with contextlib.suppress(EntryNotFoundError):  # without it the score is the default one
            hf_hub_download(repository, score_path(Path(WEIGHTS_FILE)).name, **options)
    except (OSError, ValueError) as error:
        text = printable(" ".join(str(error).split()), 300)
        raise CheckpointError(f"{printable(repository)}: no such folder, nor fetched from the Hub: {text}") from error
    return folder


def _config_text(config: EasyDict) -> str:
    """What tracking needs of a configuration, as JSON; not the datasets and paths of whoever trained."""
    encoder = {key: value for key, value in config.MODEL.ENCODER.items() if key != "PRETRAIN_TYPE"}
    data = {key: value for key, value in config.DATA.items() if key not in ("TRAIN", "VAL", "SYNTHETIC")}
    content = {"MODEL": {**config.MODEL, "ENCODER": encoder}, "DATA": data, "TEST": config.TEST}
    return json.dumps(content, indent=2) + "\n"
