"""The network of an experiment with its weights."""

import warnings

import torch

from lib.models.seqtrack import SeqTrack, build_seqtrack
from lib.models.seqtrack.precision import check_precision, prepare_for_tracking
from lib.test.parameter.seqtrack import TrackerParams
from lib.utils.checkpoint import load_checkpoint, load_model_weights
from lib.utils.device import device_errors, resolve_device


def read_network(params: TrackerParams) -> SeqTrack:
    """Build the network of an experiment and give it its weights: on the CPU, in float32 and eval mode.

    Raises:
        CheckpointError: if the checkpoint is missing, damaged or made for another network.
    """
    network = build_seqtrack(params.config, pretrained=False)
    if params.checkpoint is not None:
        load_model_weights(network, load_checkpoint(params.checkpoint), params.checkpoint)
    return network.requires_grad_(False).eval()


def load_network(params: TrackerParams) -> SeqTrack:
    """``read_network``, ready for inference on its device.

    Raises:
        CheckpointError: as ``read_network``.
        InputError: if the device or the precision is unknown, or they do not fit each other.
    """
    network = read_network(params)
    device = resolve_device(params.device)
    with device_errors(device, "a GPU with more memory, or --device cpu"):
        return prepare_for_tracking(network, params.dtype, device)


def check_network(params: TrackerParams) -> None:
    """Raise what ``load_network`` would raise, without memory for the network.

    Raises:
        CheckpointError: if the checkpoint is missing, damaged or made for another network.
        InputError: if the device or the precision is unknown, or they do not fit each other.
    """
    check_precision(params.dtype, resolve_device(params.device))
    if params.checkpoint is not None:
        with torch.device("meta"):  # names and shapes will do
            network = build_seqtrack(params.config, pretrained=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # nothing is copied, and PyTorch says so for each tensor
            load_model_weights(network, load_checkpoint(params.checkpoint), params.checkpoint)
