"""Several runs in one result folder: shared work where the settings agree, one line where they do not."""

import json
import threading
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from lib.config.paths import load_paths
from lib.config.seqtrack.config import default_config
from lib.test.evaluation import SequenceList, get_dataset
from lib.test.evaluation.manifest import FolderClaim, identity, read_manifest, run_facts
from lib.test.evaluation.results import ResultFolder
from lib.test.evaluation.running import check_results, run_benchmark
from lib.test.evaluation.shared import Ranks
from lib.utils.errors import InputError
from lib.utils.files import FolderInUseError, other_owners
from tests.evaluation import fakes
from tests.processes import another_owner

LENGTHS = {"long": 6, "middle": 4, "short": 2}


@pytest.fixture
def sequences(tmp_path: Path) -> SequenceList:
    fakes.write_got10k(tmp_path / "data" / "got10k", LENGTHS)
    return get_dataset("got10k_val", paths=load_paths("test", data_dir=tmp_path / "data"))


@pytest.fixture
def folder(tmp_path: Path) -> ResultFolder:
    return ResultFolder(tmp_path, "fake", "cfg", "got10k")


def claim(folder: ResultFolder, facts: dict, **options: bool) -> FolderClaim:
    return FolderClaim(folder, list(LENGTHS), facts, **options)


def test_a_run_with_other_settings_waits_for_the_end_of_the_first(folder: ResultFolder) -> None:
    """Neither has a result yet: only the lock says that the first is alive."""
    mine, other = run_facts({"window": True}), run_facts({"window": False})
    with claim(folder, mine) as first:
        first.take()
    before = folder.manifest_path.read_bytes()
    with another_owner(folder.path, "run-1") as process:
        with pytest.raises(
            FolderInUseError, match=rf"a run with other settings is going on there, by process {process.pid}"
        ):
            claim(folder, other).take()
        with pytest.raises(FolderInUseError, match="another run is going on there"):
            claim(folder, mine, overwrite=True).take()
        with claim(folder, mine) as second:
            second.take()  # the same settings share the folder
        assert folder.manifest_path.read_bytes() == before
    with claim(folder, other) as last:  # the advice: wait for its end
        last.take()
    assert read_manifest(folder)["settings"] == "{'window': False}"
    assert [path.name for path in folder.path.iterdir()] == ["manifest.json"]


def test_results_are_written_only_under_their_own_manifest(folder: ResultFolder) -> None:
    mine, other = run_facts({"window": True}), run_facts({"window": False})
    claimed = replace(folder, claim=identity(mine))
    with claim(folder, mine) as first:
        first.take()
        claimed.write("long", np.ones((6, 4)), [0.1] * 6)
        folder.remove("long")
        with claim(folder, other) as second:
            second.take()  # as on a file system without locks: this process does not exclude itself
        with pytest.raises(InputError, match="a run with other weights or settings has taken this folder"):
            claimed.write("long", np.ones((6, 4)), [0.1] * 6)
    assert folder.sequences() == []


@pytest.mark.parametrize("finishes", [True, False])
def test_a_sequence_of_another_run_is_left_to_it_and_looked_at_again(
    sequences: SequenceList, folder: ResultFolder, finishes: bool
) -> None:
    with another_owner(folder.path, "sequence-long") as process:

        def end() -> None:
            if finishes:
                folder.write("long", np.full((6, 4), 7.0), [0.1] * 6)
            process.stdin.close()

        timer = threading.Timer(1.0, end)
        timer.start()
        summary = run_benchmark(sequences, fakes.make_fake, folder, devices=["cpu"])
        timer.join()
    tracked = [outcome.sequence for outcome in summary.outcomes]
    assert tracked == (["middle", "short"] if finishes else ["middle", "short", "long"])
    assert summary.present == (["long"] if finishes else [])
    assert summary.lines()[0] == f"3 sequences: {len(tracked)} tracked, {int(finishes)} there already, 0 failed"
    assert (folder.read("long") == 7).all() == finishes
    assert not list(folder.path.glob(".*"))


def test_temporary_files_go_when_their_run_is_gone(sequences: SequenceList, folder: ResultFolder) -> None:
    run_benchmark(sequences, fakes.make_fake, folder, devices=["cpu"])
    (folder.path / "float").mkdir()
    left = [".long_time._on58mz1.txt", ".manifest.a1b2c3d4.json", ".run-1.lock", "float/.long.abcdefgh.txt"]
    kept = [".secret.txt", ".secret_time.txt", "notes.txt"]
    for name in left + kept:
        (folder.path / name).write_text("")
    with another_owner(folder.path, "run-2"):
        folder.remove_leftovers()
        assert all((folder.path / name).exists() for name in left[:2] + kept)
    run_benchmark(sequences, fakes.make_broken, folder, devices=["cpu"])  # nothing is pending
    assert not any((folder.path / name).exists() for name in left)
    assert all((folder.path / name).exists() for name in kept)
    assert other_owners(folder.path) == []


def test_what_the_analysis_refuses_is_tracked_again(sequences: SequenceList, folder: ResultFolder) -> None:
    run_benchmark(sequences, fakes.make_fake, folder, devices=["cpu"])
    folder.boxes_path("middle").write_text("NaN\tNaN\tNaN\tNaN\n" * 4)
    folder.boxes_path("short").write_text("inf\t1\t1\t1\n" * 2)
    again = run_benchmark(sequences, fakes.make_fake, folder, devices=["cpu"])
    assert [outcome.sequence for outcome in again.outcomes] == ["middle", "short"]
    assert np.isfinite(folder.read("middle")).all()


def test_results_are_counted_at_the_end(sequences: SequenceList, folder: ResultFolder) -> None:
    summary = run_benchmark(sequences.select(["long", "short"]), fakes.make_fake, folder, devices=["cpu"])
    folder.remove("short")
    check_results(sequences, folder, summary)
    assert summary.lines()[0] == "3 sequences: 1 tracked, 0 there already, 2 failed"
    assert [(outcome.sequence, outcome.error) for outcome in summary.failed] == [
        ("middle", "not tracked: no worker is left"),
        ("short", "its result is gone at the end of the run"),
    ]


def test_ranks_that_were_restarted_with_their_old_store_do_not_end_well(
    sequences: SequenceList, folder: ResultFolder
) -> None:
    """As torchrun does when a machine joins: the queue has handed out everything before."""
    ranks = Ranks()
    assert not run_benchmark(sequences, fakes.make_fake, folder, devices=["cpu"], ranks=ranks).failed
    folder.remove("long")
    folder.remove("short")
    summary = run_benchmark(sequences, fakes.make_fake, folder, devices=["cpu"], ranks=ranks)
    assert {outcome.sequence for outcome in summary.failed} == {"long", "short"}
    assert summary.present == ["middle"]


@dataclass
class ConfiguredParams:
    config: dict


def test_results_of_an_earlier_version_are_continued(tmp_path: Path) -> None:
    """It called an option otherwise, and did not have another."""
    folder = ResultFolder(tmp_path, "fake", "cfg", "got10k")
    folder.write("one", np.ones((1, 4)), [0.1])
    config = default_config()
    earlier = default_config()
    earlier["TRAIN"]["SMOOTH_WORDS"] = earlier["TRAIN"].pop("SMOOTH_TOKENS")
    del earlier["TRAIN"]["TF32"]
    facts = run_facts(ConfiguredParams(earlier))
    folder.manifest_path.write_text(json.dumps(facts))
    with claim(folder, run_facts(ConfiguredParams(config))) as mine:
        mine.take()
    assert read_manifest(folder)["settings"] == run_facts(ConfiguredParams(config))["settings"]
    for other in ({"TRAIN.SMOOTH_TOKENS": 2.0}, {"TRAIN.TF32": False}, {"MODEL.BINS": 100}):
        folder.manifest_path.write_text(json.dumps(facts))
        with pytest.raises(InputError, match="were made with other settings"):
            claim(folder, run_facts(ConfiguredParams(default_config(other))))
    for damaged in (None, 5, {"config": None}, {"config": 5}):
        folder.manifest_path.write_text(json.dumps({**facts, "settings": damaged}))
        with pytest.raises(InputError, match="were made with other settings"):
            claim(folder, run_facts(ConfiguredParams(config)))
