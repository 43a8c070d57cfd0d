"""Fine-tune a tracker on your own videos, and say what it gained on those it has not seen.

    python tracking/finetune.py --data my_videos
    python tracking/finetune.py --data my_videos --config seqtrack_b256 --init SEQTRACK.pth.tar --method lora

--data is a folder of sequences as docs/datasets.md describes it (FOLDER). Whole videos are held out of the training;
after every few epochs they are tracked, the best epoch is kept, and the training ends when no better one comes.
An interrupted run is continued by the same command. Writes into --output:
split.json, the two halves as train.yaml and held_out.yaml, checkpoints/..., NAME.pth.tar (the best weights in half
precision) and report.json.
"""

import argparse
import json
import logging
import os
import random
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # this checkout, whatever is installed
if __name__ == "__main__" and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the imports without a traceback; see run_script

import yaml
from easydict import EasyDict

from lib.config.paths import BEST_NAME, checkpoint_dir, find_checkpoint, load_paths
from lib.config.seqtrack.config import experiment_name, load_config
from lib.config.yaml_text import parse_overrides
from lib.data.folder import FolderSpec, folder_entries
from lib.models.seqtrack import build_seqtrack
from lib.models.seqtrack.initial import load_initial_weights
from lib.train.optimization import build_optimizer
from lib.train.run_training import add_run_arguments, train
from lib.train.trainers.checkpoints import plain_config
from lib.utils.cli import ScriptParser, check_ranges, run_script, user_path
from lib.utils.device import resolve_device
from lib.utils.errors import CheckpointError, DataError, InputError
from lib.utils.files import file_hash, write_text_atomic
from lib.utils.storage import find_storage
from tracking.track_check import TrackCheck
from tracking.train_demo import export_weights

METHODS: dict[str, dict[str, Any]] = {
    "full": {"TRAIN.LAYER_DECAY": 0.75},
    "lora": {"TRAIN.LORA_RANK": 8, "TRAIN.ENCODER_MULTIPLIER": 1.0},
    "decoder": {"TRAIN.FREEZE_ENCODER": True},
}
"""What is trained: all, lower layers more slowly; the decoder and low-rank parts of the encoder; the decoder."""

SAMPLES_PER_EPOCH = 960
EVERY = 2  # epochs between checks on the held-out videos


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = ScriptParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=user_path, required=True, help="folder of your annotated videos")
    parser.add_argument("--config", default="seqtrack_demo", help="experiment (default: the bundled tracker's)")
    parser.add_argument("--init", type=user_path, help="weights to start from (default: those of the experiment)")
    parser.add_argument("--method", choices=METHODS, default="full", help="what is trained (default: full)")
    parser.add_argument("--output", type=user_path, default=Path("output/finetune"), help="default: %(default)s")
    parser.add_argument("--epochs", type=int, default=20, help=f"of {SAMPLES_PER_EPOCH} samples (default: 20)")
    parser.add_argument("--lr", type=float, default=2e-4, help="largest learning rate (default: 2e-4)")
    parser.add_argument("--batch_size", type=int, help="samples of a step (default: 16, on a GPU 32)")
    parser.add_argument("--held_out", type=float, default=0.2, help="share of the videos held out (default: 0.2)")
    parser.add_argument("--patience", type=int, default=4, help="checks without a better one that end it (default: 4)")
    parser.add_argument("--seed", type=int, default=42)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:<index> or mps (default: auto)")
    parser.add_argument(
        "--override", action="extend", nargs="+", default=[], metavar="KEY=VALUE", help="options that win over all this"
    )
    args = parser.parse_args(argv)
    limits = {"epochs": (1, 10_000), "batch_size": (1, 4096), "held_out": (0.01, 0.9), "patience": (0, 10_000)}
    check_ranges(args, {**limits, "lr": (1e-8, 1.0), "seed": (0, 2**32 - 1)})
    return args


def usable_videos(folder: Path) -> list[str]:
    """Names of the sequences of a folder, at least two.

    Raises:
        DataError: if one is malformed or never shows its target, or there are fewer than two.
    """
    videos = folder_entries(find_storage(folder), FolderSpec(folder, "videos"))
    for video in videos:
        video.load()
    if len(videos) < 2:
        raise DataError(f"{folder}: {len(videos)} sequence(s) with a groundtruth.txt; two are needed, one is held out")
    return [video.name for video in videos]


def split_videos(args: argparse.Namespace, init: Path) -> dict[str, Path]:
    """Choose the videos that are held out, once: a continued run keeps its choice; descriptions of the two halves.

    Raises:
        DataError: as ``usable_videos``.
        InputError: if --output holds the run of another folder, or one that started from other weights.
    """
    weights = file_hash(init)
    names, path = usable_videos(args.data), args.output / "split.json"
    if path.is_file():
        try:
            split = json.loads(path.read_text(encoding="utf-8"))
            known = sorted(split["train"] + split["held_out"]), split["data"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: not the split of a fine-tuning; remove it, or give another --output") from error
        if known != (sorted(names), str(args.data.resolve())):
            raise InputError(f"{path}: made for other videos; give another --output, or remove {args.output}")
        if split.get("init_sha256", weights) != weights:
            raise InputError(f"{path}: the run there started from other weights than {init}; give another --output")
    else:
        shuffled = sorted(names)
        random.Random(args.seed).shuffle(shuffled)
        count = min(max(1, round(args.held_out * len(names))), len(names) - 1)
        split = {"data": str(args.data.resolve()), "held_out": shuffled[:count], "train": shuffled[count:]}
        split["init_sha256"] = weights
        write_text_atomic(path, json.dumps(split, indent=1) + "\n")
    halves = {}
    for half in ("train", "held_out"):
        halves[half] = (args.output / f"{half}.yaml").resolve()
        description = {"root": split["data"], "name": f"{half}_videos", "sequences": sorted(split[half])}
        write_text_atomic(halves[half], yaml.safe_dump(description, sort_keys=False))
    return halves


def recipe(args: argparse.Namespace, init: Path, halves: Mapping[str, Path]) -> dict[str, Any]:
    """Options of the training by dotted key."""
    on_gpu = resolve_device(args.device).type == "cuda"
    cores = os.cpu_count() or 1
    return {
        "MODEL.INIT": str(init),
        "TRAIN.EPOCH": args.epochs,
        "TEST.EPOCH": args.epochs,
        "TRAIN.LR": args.lr,
        "TRAIN.ENCODER_MULTIPLIER": 0.5,
        "TRAIN.SCHEDULER.TYPE": "cosine",
        "TRAIN.EMA": 0.98,
        "TRAIN.BATCH_SIZE": args.batch_size or (32 if on_gpu else 16),
        "TRAIN.NUM_WORKER": min(8, max(1, cores // 2)),
        "TRAIN.PRINT_INTERVAL": 20,
        "TRAIN.KEEP_CHECKPOINTS": 2,
        "TRAIN.KEEP_EVERY": 0,
        "TRAIN.AMP": True,
        "TRAIN.SMOOTH_TOKENS": 0.0,  # the tokens were smoothed when the weights were made
        "TRAIN.BEST_METRIC": "track/AUC",
        "TRAIN.PATIENCE": args.patience,
        "TRAIN.SEED": args.seed,
        "DATA.TRAIN.DATASETS_NAME": [f"FOLDER:{halves['train']}"],
        "DATA.TRAIN.DATASETS_RATIO": [1],
        "DATA.TRAIN.SAMPLE_PER_EPOCH": SAMPLES_PER_EPOCH,
        **METHODS[args.method],
        **parse_overrides(args.override),
    }


def count_trained(cfg: EasyDict) -> tuple[int, int]:
    """Parameters that are trained, and all parameters of the network that is tracked with."""
    network = build_seqtrack(cfg)
    total = sum(parameter.numel() for parameter in network.parameters())
    build_optimizer(network, cfg)
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad), total


def main(argv: Sequence[str] | None = None) -> int:
    """Split, train, compare."""
    args = parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    name = f"{experiment_name(args.config)}_finetuned"
    init = args.init or find_checkpoint(
        load_paths("test").save_dir, experiment_name(args.config), load_config(args.config).TEST.EPOCH
    )
    if not init.is_file():
        raise CheckpointError(f"--init {init}: no such checkpoint")
    halves = split_videos(args, init)
    experiment = args.output / f"{name}.yaml"
    cfg = load_config(args.config, recipe(args, init, halves))
    write_text_atomic(experiment, yaml.safe_dump(plain_config(cfg), sort_keys=False))
    check = TrackCheck(str(halves["held_out"]), max_sequences=10_000)

    network = build_seqtrack(cfg)
    load_initial_weights(network, init)
    trained, total = count_trained(cfg)
    before = check(cfg, network.eval())
    print(
        f"before: {_scores(before)} on {len(check.sequences)} held-out videos; {trained:,} of {total:,} weights train"
    )

    flags = argparse.ArgumentParser()
    add_run_arguments(flags)
    run = ["--config", str(experiment), "--save_dir", str(args.output), "--device", args.device]
    code = train(flags.parse_args(run), track=check, track_every=EVERY)
    if code:
        return code
    best = checkpoint_dir(args.output, name) / BEST_NAME
    if not best.is_file():
        raise InputError(f"no epoch could be scored on the held-out videos; the log below {args.output} says why")
    target = args.output / f"{name}.pth.tar"
    export_weights(best, target)
    load_initial_weights(network, target)
    after = check(cfg, network.eval())
    report = {"method": args.method, "trained": trained, "weights": total, "before": before, "after": after}
    write_text_atomic(args.output / "report.json", json.dumps(report, indent=1) + "\n")
    print(f"after:  {_scores(after)}")
    if after["AUC"] <= before["AUC"]:
        print("the weights that it started from are better on the held-out videos: keep those")
    print(f"weights: {target} ({target.stat().st_size / 2**20:.1f} MiB)")
    print(f"use them: python tracking/video_demo.py seqtrack {experiment} CLIP --checkpoint {target}")
    return 0


def _scores(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.2f}" for name, value in scores.items())


if __name__ == "__main__":
    sys.exit(run_script(main))
