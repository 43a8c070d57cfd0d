"""What is written to disk: files, formats, resuming, refusing."""

import configparser
import json
from pathlib import Path

import numpy as np
import pytest

from lib.synthetic import SyntheticSequence, layouts, write_got10k, write_lasot
from lib.utils.errors import DataError, InputError
from lib.utils.image_io import read_image


def videos(split: str, count: int = 2, **options: object) -> list[SyntheticSequence]:
    arguments = {"num_frames": 12, "size": (96, 64), "difficulty": "hard", "split": split} | options
    return [SyntheticSequence(seed, **arguments) for seed in range(count)]


def numbers(path: Path) -> np.ndarray:
    return np.loadtxt(path, delimiter=",", ndmin=2)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_got10k_val(tmp_path: Path) -> None:
    sequences = videos("val")
    written = write_got10k(tmp_path, "val", sequences)
    assert written.names == ["GOT-10k_Val_000001", "GOT-10k_Val_000002"]
    assert (written.kept, written.frames, written.folder) == (0, 24, tmp_path / "val")
    assert (tmp_path / "val" / "list.txt").read_text() == "GOT-10k_Val_000001\nGOT-10k_Val_000002\n"
    folder = tmp_path / "val" / "GOT-10k_Val_000002"
    labels = {"absence.label", "cover.label", "cut_by_image.label", "groundtruth.txt", "meta_info.ini"}
    assert {p.name for p in folder.iterdir()} == labels | {"synthetic.json"} | {f"{k:08d}.jpg" for k in range(1, 13)}
    ground_truth = sequences[1]
    assert np.allclose(numbers(folder / "groundtruth.txt"), ground_truth.boxes_xywh, atol=1e-4)
    absent = numbers(folder / "absence.label")[:, 0]
    cover = numbers(folder / "cover.label")[:, 0]
    assert np.array_equal(absent, ground_truth.absent)
    assert np.array_equal(cover == 0, ground_truth.absent)
    assert np.abs(cover / 8 - ground_truth.visible_fraction).max() <= 1 / 8
    meta = configparser.ConfigParser()
    meta.read(folder / "meta_info.ini")
    assert meta["METAINFO"]["object_class"] == ground_truth.object_class
    assert meta["METAINFO"]["resolution"] == "(96, 64)"
    lines = (folder / "meta_info.ini").read_text().splitlines()
    assert [line.partition(":")[0] for line in lines[5:10]] == [
        "object_class",
        "motion_class",
        "major_class",
        "root_class",
        "motion_adverb",
    ]  # read by position by the published code


def test_a_stored_frame_is_the_frame_after_jpeg(tmp_path: Path) -> None:
    write_got10k(tmp_path, "train", videos("train", 1))
    stored = read_image(tmp_path / "train" / "GOT-10k_Train_000001" / "00000005.jpg")
    assert np.array_equal(stored, videos("train", 1, jpeg=True)[0].frame(4))


def test_got10k_test_shows_the_first_box_only(tmp_path: Path) -> None:
    write_got10k(tmp_path, "test", videos("test", 1))
    folder = tmp_path / "test" / "GOT-10k_Test_000001"
    assert numbers(folder / "groundtruth.txt").shape == (1, 4)
    assert not list(folder.glob("*.label"))
    assert len(list(folder.glob("*.jpg"))) == 12


def test_lasot(tmp_path: Path) -> None:
    sequences = videos("train", 3, num_frames=30)
    written = write_lasot(tmp_path, sequences)
    for number, (name, ground_truth) in enumerate(zip(written.names, sequences, strict=True), start=1):
        kind = ground_truth.object_class
        assert name == f"{kind}/{kind}-{number}"
        folder = tmp_path / name
        labels = {"groundtruth.txt", "full_occlusion.txt", "out_of_view.txt", "img", "synthetic.json"}
        assert {p.name for p in folder.iterdir()} == labels
        assert [p.name for p in sorted((folder / "img").iterdir())] == [f"{k:08d}.jpg" for k in range(1, 31)]
        boxes = numbers(folder / "groundtruth.txt")
        assert np.array_equal(boxes, np.floor(boxes))
        assert np.abs(boxes - ground_truth.boxes_xywh).max() <= 1
        assert ((boxes[:, 2:] > 0).all(axis=1) == ~ground_truth.absent).all()
        hidden, away = (numbers(folder / f"{flag}.txt")[0] for flag in ("full_occlusion", "out_of_view"))
        assert np.array_equal(hidden + away, ground_truth.absent)
    assert (tmp_path / "training_set.txt").read_text().split() == sorted(Path(name).name for name in written.names)


def test_both_splits_of_lasot_fit_into_one_folder(tmp_path: Path) -> None:
    write_lasot(tmp_path, videos("train", 1))
    write_lasot(tmp_path, videos("test", 1), split="test")
    assert (tmp_path / "training_set.txt").read_text().strip().endswith("-1")
    assert (tmp_path / "testing_set.txt").read_text().strip().endswith("-10001")


def test_the_number_of_workers_changes_nothing(tmp_path: Path) -> None:
    write_got10k(tmp_path / "one", "val", videos("val"))
    write_got10k(tmp_path / "two", "val", videos("val"), workers=2)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_complete_sequences_are_kept_and_broken_off_ones_leave_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SyntheticSequence.frame

    def crash(self: SyntheticSequence, index: int) -> np.ndarray:
        if self.recipe.seed == 1 and index == 5:
            raise KeyboardInterrupt
        return real(self, index)

    monkeypatch.setattr(SyntheticSequence, "frame", crash)
    with pytest.raises(KeyboardInterrupt):
        write_got10k(tmp_path, "val", videos("val", 3))
    assert [p.name for p in (tmp_path / "val").iterdir()] == ["GOT-10k_Val_000001"]
    monkeypatch.setattr(SyntheticSequence, "frame", real)
    before = (tmp_path / "val" / "GOT-10k_Val_000001" / "00000001.jpg").stat().st_mtime_ns
    reports: list[tuple[int, int]] = []
    written = write_got10k(tmp_path, "val", videos("val", 3), progress=lambda *report: reports.append(report))
    assert written.kept == 1
    assert reports == [(1, 1), (2, 1), (3, 1)]
    assert (tmp_path / "val" / "GOT-10k_Val_000001" / "00000001.jpg").stat().st_mtime_ns == before
    assert len((tmp_path / "val" / "list.txt").read_text().split()) == 3


def test_sequences_of_other_settings_are_not_mixed_nor_overwritten(tmp_path: Path) -> None:
    write_got10k(tmp_path, "val", videos("val", 1))
    before = tree(tmp_path)
    with pytest.raises(InputError, match=r"GOT-10k_Val_000001: is there already and was made with other settings"):
        write_got10k(tmp_path, "val", videos("val", 2, num_frames=13))
    assert tree(tmp_path) == before
    note = json.loads(before["val/GOT-10k_Val_000001/synthetic.json"])
    assert note["renderer"] == layouts.RENDERER_VERSION
    assert (note["seed"], note["split"], note["num_frames"], note["width"]) == (0, "val", 12, 96)


def test_a_folder_of_the_user_is_not_touched(tmp_path: Path) -> None:
    mine = tmp_path / "val" / "GOT-10k_Val_000001" / "my.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(InputError, match="is there already"):
        write_got10k(tmp_path, "val", videos("val", 1))
    assert tree(tmp_path) == {"val/GOT-10k_Val_000001/my.txt": b"mine"}


def test_unknown_splits_and_unusable_places(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no split 'dev'; known: train, val, test"):
        write_got10k(tmp_path, "dev", videos("dev", 1))
    with pytest.raises(InputError, match=r"LaSOT has no split 'val'"):
        write_lasot(tmp_path, videos("val", 1), split="val")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file"):
        write_got10k(tmp_path / "file", "val", videos("val", 1))
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_other_photos_in_the_folder_are_other_settings(tmp_path: Path) -> None:
    from lib.utils.image_io import write_image

    for name, value in (("a", 50), ("b", 200)):
        noise = np.random.RandomState(value).randint(0, value, (70, 100, 3)).astype(np.uint8)
        write_image(tmp_path / name / "photo.png", noise)
    write_got10k(tmp_path / "out", "val", videos("val", 1, backgrounds=tmp_path / "a"))
    with pytest.raises(InputError, match="other settings"):
        write_got10k(tmp_path / "out", "val", videos("val", 1, backgrounds=tmp_path / "b"))
