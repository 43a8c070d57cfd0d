"""Puts a training run together: configuration in, trainer out. The only place that knows all the parts."""

import copy
import glob
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml
from easydict import EasyDict
from torch import nn

from lib.config.paths import Paths, checkpoint_dir, log_path, manifest_path, tensorboard_dir
from lib.data.registry import build_dataset
from lib.models.seqtrack import build_seqtrack
from lib.models.seqtrack.initial import load_initial_weights
from lib.models.seqtrack.precision import training_dtype
from lib.models.seqtrack.seqtrack import SeqTrack
from lib.models.seqtrack.vocabulary import CoordinateVocabulary
from lib.train.actors.extras import ExtrasActor
from lib.train.actors.seqtrack import SeqTrackActor
from lib.train.admin.manifest import git_revision, write_manifest
from lib.train.admin.tensorboard import TensorboardWriter
from lib.train.data.frame_choice import FramePolicy
from lib.train.data.loader import EpochKeys, TrainingLoader, batches_per_step
from lib.train.data.processing import Augmentation, CropSettings, SeqTrackProcessing
from lib.train.data.sampler import DamageBudget, TrackingSampler
from lib.train.distributed import decide_on_main, distribute, seed_rank
from lib.train.optimization import build_optimizer, build_scheduler
from lib.train.trainers.checkpoints import CheckpointStore, find_resume_point
from lib.train.trainers.ltr_trainer import LTRTrainer
from lib.train.trainers.step import OptimizationStep
from lib.train.trainers.weights import TrackedWeights
from lib.utils.device import resolve_dtype
from lib.utils.errors import ConfigError
from lib.utils.files import folder_lock, write_text_atomic
from lib.utils.launch import available_cores, get_rank, get_world_size, is_main_process
from lib.utils.log import logging_to
from lib.utils.seed import seed_everything

logger = logging.getLogger(__name__)


TrackHook = Callable[[EasyDict, SeqTrack], dict[str, float]]
"""Given from outside, since training does not know how testing is done."""


@dataclass(frozen=True)
class RunSettings:
    """What the command line says about a run; everything else is in the configuration.

    Attributes:
        config_name: name of the run, by default that of its experiment; part of every path that is written.
        paths: where data is read and results are written.
        device: of this process.
        resume: ``auto``, ``never`` or the path of a checkpoint.
        local_world_size: processes that share this machine, ``None`` if that is unknown.
        track: tracks real sequences with a network and gives scores; ``None`` for no such check.
        track_every: epochs between these checks.
        is_named: whether the run has a name of its own; its options are then written beside its checkpoints.
    """

    config_name: str
    paths: Paths
    device: torch.device
    resume: str = "auto"
    local_world_size: int | None = 1
    track: TrackHook | None = None
    track_every: int = 10
    is_named: bool = False


def run(cfg: EasyDict, settings: RunSettings) -> int:
    """Train an experiment to its last epoch, or until a signal asks to end. All processes of a run call this.

    Returns:
        Exit code: 0, or 128 + the number of the signal.

    Raises:
        SeqTrackError: for anything that the user can fix.
    """
    device = settings.device
    seed_everything(cfg.TRAIN.SEED)
    torch.backends.cuda.matmul.allow_tf32 = cfg.TRAIN.TF32  # the CPU knows no such thing
    if device.type == "cpu":
        share_cores(cfg.TRAIN.NUM_WORKER, settings.local_world_size or 1)
    if cfg.TRAIN.BEST_METRIC.startswith("track/") and settings.track is None:
        raise ConfigError(f"TRAIN.BEST_METRIC: {cfg.TRAIN.BEST_METRIC} needs a benchmark to track on (--track_dataset)")
    with ExitStack() as at_end:
        # A mistake in a first start leaves no folders behind; where there are some, another training is met first.
        is_known = checkpoint_dir(settings.paths.save_dir, settings.config_name).is_dir()
        if is_main_process() and is_known:
            at_end.enter_context(own_folders(settings))
        # What is cheap and can be wrong comes first: datasets before the network, whose weights may be a download.
        logger.info("opening the datasets: %s", ", ".join(cfg.DATA.TRAIN.DATASETS_NAME))
        train_loader = build_loader(cfg, settings.paths, "TRAIN", device)
        at_end.callback(train_loader.close)
        val_loader = build_loader(cfg, settings.paths, "VAL", device) if cfg.DATA.VAL.DATASETS_NAME else None
        if val_loader is not None:
            at_end.callback(val_loader.close)
        if is_main_process() and not is_known:
            at_end.enter_context(own_folders(settings))
        log_size(cfg, settings, train_loader)
        trainer = prepare(cfg, settings, train_loader, val_loader)
        return trainer.train()


@contextmanager
def own_folders(settings: RunSettings) -> Iterator[None]:
    """Keep other trainings out of a run's folders, and log to its file, while the block runs.

    Raises:
        FolderInUseError: if another process trains there.
    """
    save_dir, name = settings.paths.save_dir, settings.config_name
    with folder_lock(checkpoint_dir(save_dir, name), "training"), logging_to(log_path(save_dir, name)):
        for path in log_path(save_dir, name).parent.glob(f".{glob.escape(log_path(save_dir, name).stem)}-*.json"):
            path.unlink(missing_ok=True)  # a manifest that a killed run was writing
        yield


def prepare(
    cfg: EasyDict, settings: RunSettings, train_loader: TrainingLoader, val_loader: TrainingLoader | None
) -> LTRTrainer:
    """Build network and trainer, and take up the run that is to be continued."""
    device = settings.device
    folder = checkpoint_dir(settings.paths.save_dir, settings.config_name)
    store = CheckpointStore(folder, cfg.TRAIN.KEEP_CHECKPOINTS, cfg.TRAIN.KEEP_EVERY)
    if is_main_process():
        store.remove_leftovers()
    resume_from = decide_on_main(find_resume_point(store, settings.resume) if is_main_process() else None)
    logger.info("building the network")
    # Only rank 0 may download weights; the others take them over from it.
    is_fresh = resume_from is None and is_main_process()
    network = build_seqtrack(cfg, pretrained=is_fresh and not cfg.MODEL.INIT)
    if is_fresh and cfg.MODEL.INIT:
        load_initial_weights(network, cfg.MODEL.INIT)
    network.to(device)
    trainer = build_trainer(
        cfg,
        network,
        train_loader,
        val_loader,
        store,
        settings.config_name,
        device,
        track=None if settings.track is None else partial(settings.track, cfg),
        track_every=settings.track_every,
        start_records=partial(start_records, settings, resume_from),
    )
    seed_rank(cfg.TRAIN.SEED)
    if resume_from is not None:
        trainer.resume(resume_from)
    if not is_main_process():
        logging.getLogger().setLevel(logging.WARNING)  # so far all ranks have had the same to say
    return trainer


def log_size(cfg: EasyDict, settings: RunSettings, loader: TrainingLoader) -> None:
    """Say what will run."""
    keys = loader.keys
    logger.info(
        "experiment %s, seed %d, device %s: %d epochs of %d steps; a step has %d samples "
        "(%d a process x %d process(es) x %d batch(es))",
        settings.config_name,
        cfg.TRAIN.SEED,
        settings.device,
        cfg.TRAIN.EPOCH,
        keys.steps,
        keys.samples_per_step,
        keys.batch_size,
        keys.world_size,
        keys.accumulate,
    )


def start_records(
    settings: RunSettings, resume_from: Path | None, trainer: LTRTrainer, first_step: int
) -> TensorboardWriter:
    """Open the curves and write the manifest of this start, now that its first step is done.

    Until then nothing of an earlier run is touched: a start that fails leaves it to be continued.
    """
    save_dir, name = settings.paths.save_dir, settings.config_name
    if settings.resume == "never":
        moved = trainer.store.set_aside()
        if moved is not None:
            logger.info("earlier checkpoints moved to %s", moved)
    writer = TensorboardWriter(tensorboard_dir(save_dir, name), first_step=first_step)
    if settings.is_named:  # tracking/test.py takes it as its configuration, and finds the checkpoints beside it
        config = copy.deepcopy(trainer.config)
        config["TEST"]["EPOCH"] = min(config["TEST"]["EPOCH"], config["TRAIN"]["EPOCH"])  # the last one that will exist
        write_text_atomic(trainer.store.folder / f"{name}.yaml", yaml.safe_dump(config, sort_keys=False))
    path = trainer.manifest = manifest_path(save_dir, name, datetime.now(timezone.utc))
    write_manifest(
        path,
        config=trainer.config,
        device=settings.device,
        world_size=get_world_size(),
        revision=trainer.revision,
        resumed_from=str(resume_from or ""),
    )
    logger.info("manifest: %s", path)
    return writer


def share_cores(num_workers: int, processes: int = 1) -> None:
    """Leave cores to the loaders' workers: threads that wait for each other on busy cores are slower than one alone.

    A thread count that the user chose (``OMP_NUM_THREADS``) is left as it is.
    """
    cores = max(1, available_cores() // processes)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, cores - num_workers, cores // 2))


def build_trainer(
    cfg: EasyDict,
    network: SeqTrack,
    train_loader: TrainingLoader,
    val_loader: TrainingLoader | None,
    store: CheckpointStore,
    config_name: str,
    device: torch.device,
    **hooks: Any,
) -> LTRTrainer:
    """Make the trainer of a network that is on its device. All processes of a run start with rank 0's weights.

    Args:
        hooks: ``track``, ``track_every`` and ``start_records`` of ``LTRTrainer``; the rest as there.
    """
    train = cfg.TRAIN
    optimizer = build_optimizer(network, cfg)
    weights = TrackedWeights(network, train.EMA)
    evaluation_actor = build_actor(cfg, weights.network, network.vocabulary).to(device) if train.EMA else None
    if train.COMPILE:
        network.compile()
    amp_dtype = training_dtype(resolve_dtype(train.AMP_DTYPE), device) if train.AMP else torch.float32
    step = OptimizationStep(
        build_actor(cfg, distribute(network, device), network.vocabulary).to(device),
        optimizer,
        device=device,
        clip_norm=train.GRAD_CLIP_NORM,
        amp_dtype=None if amp_dtype == torch.float32 else amp_dtype,
        accumulate=train_loader.keys.accumulate,
        evaluation_actor=evaluation_actor,
    )
    return LTRTrainer(
        cfg=cfg,
        config_name=config_name,
        network=network,
        step=step,
        scheduler=build_scheduler(optimizer, cfg),
        store=store,
        train_loader=train_loader,
        val_loader=val_loader,
        weights=weights,
        revision=git_revision() if is_main_process() else "",
        **hooks,
    )


def build_actor(cfg: EasyDict, network: nn.Module, vocabulary: CoordinateVocabulary) -> SeqTrackActor:
    """Make the actor of a network, which may be wrapped: with the published loss, or with more."""
    train, numbers = cfg.TRAIN, {"mean": cfg.DATA.MEAN, "std": cfg.DATA.STD, "ce_weight": cfg.TRAIN.CE_WEIGHT}
    if train.LABEL_SIGMA > 0 or train.GUIDE_WEIGHT > 0:
        extras = {"label_sigma": train.LABEL_SIGMA, "guide_weight": train.GUIDE_WEIGHT}
        return ExtrasActor(network, vocabulary, **numbers, **extras)
    return SeqTrackActor(network, vocabulary, **numbers)


def build_processing(cfg: EasyDict, augmentation: Augmentation) -> SeqTrackProcessing:
    """Make the processing of a configuration."""
    template, search = (
        CropSettings(part.SIZE, part.FACTOR, part.CENTER_JITTER, part.SCALE_JITTER)
        for part in (cfg.DATA.TEMPLATE, cfg.DATA.SEARCH)
    )
    return SeqTrackProcessing(
        template=template, search=search, augmentation=augmentation, reduced_decode=cfg.DATA.REDUCED_DECODE
    )


def build_sampler(cfg: EasyDict, paths: Paths, split: str) -> TrackingSampler:
    """Open the datasets of ``split`` (``TRAIN`` or ``VAL``) and make the sampler over them."""
    data, interval = cfg.DATA, cfg.DATA.MAX_SAMPLE_INTERVAL
    gaps = tuple(interval) if isinstance(interval, list | tuple) else (interval,)
    return TrackingSampler(
        datasets=[build_dataset(name, cfg, paths) for name in data[split].DATASETS_NAME],
        ratios=data[split].DATASETS_RATIO,
        mode=data.SAMPLER_MODE,
        policy=FramePolicy(data.TEMPLATE.NUMBER, data.SEARCH.NUMBER, gaps),
        processing=build_processing(cfg, Augmentation() if split == "TRAIN" else Augmentation.for_validation()),
        seed=cfg.TRAIN.SEED,
        damage=DamageBudget(data.BAD_SAMPLES, data.MAX_BAD_SAMPLES),
    )


def build_loader(cfg: EasyDict, paths: Paths, split: str, device: torch.device) -> TrainingLoader:
    """Make the loader of ``split`` (``TRAIN`` or ``VAL``).

    Raises:
        ConfigError: for an unknown dataset or numbers that do not fit each other.
        DataError: if a dataset is missing or malformed.
    """
    batch_size, processes = cfg.TRAIN.BATCH_SIZE, get_world_size()
    accumulate = batches_per_step(cfg.TRAIN.GLOBAL_BATCH, batch_size, processes) if split == "TRAIN" else 1
    keys = EpochKeys(cfg.DATA[split].SAMPLE_PER_EPOCH, batch_size, get_rank(), processes, accumulate)
    return TrainingLoader(
        build_sampler(cfg, paths, split), keys, num_workers=cfg.TRAIN.NUM_WORKER, pin_memory=device.type == "cuda"
    )
