"""What an experiment on rendered videos does without where its images or pretrained weights are missing."""

from pathlib import Path
from typing import Any

from easydict import EasyDict


def overrides_without_files(cfg: EasyDict) -> dict[str, Any]:
    """Options that let a training on rendered videos start on a machine that has not got its files.

    Args:
        cfg: the configuration; paths in it are relative to the working directory.

    Returns:
        Values by dotted key: painted videos where a folder of images is missing, and an encoder that starts from
        nothing (at the learning rate of the rest) where the file of its weights is. Empty if all is there, or the
        experiment does not allow it (TRAIN.ALLOW_MISSING_FILES): then the missing file is an error where it is needed.
    """
    overrides: dict[str, Any] = {}
    if not cfg.TRAIN.ALLOW_MISSING_FILES:
        return overrides
    for name in ("BACKGROUNDS", "CUTOUTS"):
        folder = cfg.DATA.SYNTHETIC[name]
        if folder and not Path(folder).is_dir():
            overrides[f"DATA.SYNTHETIC.{name}"] = ""
    source = cfg.MODEL.ENCODER.PRETRAIN_TYPE  # the name of a start, such as mae, or a file; only files have a suffix
    if not cfg.MODEL.INIT and Path(source).suffix and not Path(source).is_file():
        overrides |= {"MODEL.ENCODER.PRETRAIN_TYPE": "sincos", "TRAIN.ENCODER_MULTIPLIER": 1.0}
    return overrides
