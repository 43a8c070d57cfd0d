"""What is drawn is what the tracker did, and looking changes nothing."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

import tracking.visualize as script
from lib.models.seqtrack import CoordinateVocabulary
from lib.test.analysis.attention import select_maps
from lib.test.analysis.token_view import TokenView
from lib.test.visualize import KINDS, Gallery, Layers, Observer, choose, parse_numbers
from lib.utils.cli import run_script
from lib.utils.errors import InputError
from lib.utils.image_io import write_image
from tests.tracker import fakes
from tests.video.world import BOX, FRAMES, refused

CASES = {
    "published": {"TEST__UPDATE_INTERVALS": {"DEFAULT": 2}, "TEST__UPDATE_THRESHOLD": {"DEFAULT": -1.0}},
    "no window, one template": {"TEST__WINDOW": False, "DATA__TEMPLATE__NUMBER": 1, "TEST__NUM_TEMPLATES": 1},
    "larger crop": {"DATA__SEARCH__SIZE": 48, "TEST__SEARCH_SIZE": 48},
}


def run(experiment, video, *flags: str) -> int:
    weights = ["--checkpoint", str(experiment / "tiny.pth.tar"), "--device", "cpu"]
    command = ["seqtrack", str(experiment / "tiny.yaml"), str(video), *weights, *flags]
    return run_script(lambda: script.main(command))


@pytest.mark.parametrize("case", CASES)
def test_looking_changes_nothing(case: str) -> None:
    images, engine = fakes.frames(), fakes.make_engine(**CASES[case])
    state = engine.start(images[0], fakes.BOX)
    plain = [engine.step([state], [image])[0] for image in images[1:]]
    observer = Observer(engine)
    seen = list(observer.run(images, fakes.BOX, [1, 6, 11]))
    for observation, expected in zip(seen, (plain[0], plain[5], plain[10]), strict=True):
        assert np.array_equal(observation.result.tokens, expected.tokens)
        assert np.array_equal(observation.result.likelihoods, expected.likelihoods)
        assert observation.result.box_xywh == expected.box_xywh
        window = None if engine.window is None else engine.window.numpy()
        weighted = TokenView(engine.network.vocabulary).weigh(observation.maps.probabilities.numpy(), window)
        assert np.array_equal(weighted.argmax(axis=-1), expected.tokens)
        np.testing.assert_allclose(weighted.max(axis=-1), expected.likelihoods, rtol=1e-6)
        side = engine.params.search_size // 16
        assert observation.maps.cross.shape == (4, 2, 2, side, side)
        assert observation.maps.encoder.shape == (engine.params.num_templates, 2, 2, side, side)
    updates = [0] + [frame for frame, result in enumerate(plain, 1) if result.updated]
    assert [template.frame for template in observer.history.all] == updates
    assert [row[1] for row in observer.history.rows] == [result.confidence for result in plain]
    if case == "published":
        assert [template.frame for template in seen[1].templates] == [0, 4] and updates == [0, 2, 4, 6, 8, 10]


def test_pictures_of_an_earlier_run_are_said(experiment, clip, tmp_path, capsys) -> None:
    flags = ["--init_box", BOX, "--output", str(tmp_path), "--what", "tokens", "--formats", "npz", "--frames"]
    (tmp_path / "notes.txt").touch()
    for frames, count in (("1,2", 0), ("2", 1)):
        assert run(experiment, clip, *flags, frames) == 0
        assert capsys.readouterr().out.count("1 more files there are of an earlier run") == count


@pytest.mark.slow
def test_files_of_a_run(experiment, clip, tmp_path, capsys) -> None:
    flags = ("--init_box", BOX, "--frames", f"{FRAMES - 1}", "--formats", "png", "npz", "mp4", "--layer", "all")
    assert run(experiment, clip, "--output", str(tmp_path), "--head", "1", *flags) == 0
    assert capsys.readouterr().out == f"8 files in {tmp_path}\n"
    stem = f"{FRAMES - 1:05d}"
    figures = {f"{stem}_{kind}.png" for kind in ("attention", "likelihood", "tokens")} | {"templates.png"}
    videos = {f"{kind}.mp4" for kind in ("attention", "likelihood", "tokens")}
    assert {path.name for path in tmp_path.iterdir()} == figures | videos | {f"{stem}.npz"}
    for name in figures:
        image = cv2.imread(str(tmp_path / name))
        assert image.shape[1] == 1512 and image.std() > 10
    for name in videos:
        assert cv2.VideoCapture(str(tmp_path / name)).read()[0]
    arrays = np.load(tmp_path / f"{stem}.npz")
    assert arrays["cross"].shape == (4, 2, 2, 2, 2) and arrays["window"].shape == (200,)
    assert arrays["template_crops"].shape == (2, 16, 16, 3) and arrays["search_crop"].shape == (32, 32, 3)


def test_a_sequence_has_its_ground_truth(experiment, tmp_path) -> None:
    folder = tmp_path / "mine" / "s0"
    folder.mkdir(parents=True)
    for index, image in enumerate(fakes.frames(4)):
        write_image(folder / f"{index:04d}.png", image)
    np.savetxt(folder / "groundtruth.txt", np.tile(fakes.BOX, (4, 1)), delimiter=",")
    dataset = ("--dataset", f"folder:{tmp_path / 'mine'}", "--save_dir", str(tmp_path), "--formats", "npz")
    assert run(experiment, "s0", *dataset, "--frames", "1-3:2") == 0
    written = tmp_path / "test" / "visualize" / "tiny" / "s0"
    assert [path.name for path in sorted(written.iterdir())] == ["00001.npz", "00003.npz"]
    truth = np.load(written / "00001.npz")["ground_truth_tokens"]  # the crop is around it, and four times as large
    assert np.abs(truth - [99.5, 99.5, 49.75, 49.75]).max() <= 2


WRONG = {
    ("--frames", "0"): "--frames: frame 0 has the initial box",
    ("--frames", "1,6"): "--frames: there is no frame 6: the last one is 5",
    ("--frames", "1-x"): "--frames: expected numbers such as 1,50,100-200:10, got '1-x'",
    ("--frames", "5-2"): "--frames: 5-2: the range ends before it begins",
    ("--layer", "2"): "--layer: there is no 2: the decoder has layers 0 to 1",
    ("--encoder_layer", "9"): "--encoder_layer: there is no 9: the encoder has layers 0 to 1",
    ("--head", "0,7"): "--head: there is no 7: a layer of the decoder has heads 0 to 1",
    ("--encoder_head", "some"): "--encoder_head: expected numbers such as",
    ("--init_box", "1,2,3"): "--init_box: expected four numbers",
    ("--fps", "nan"): "--fps must be between",
    ("--update_interval", "0"): "update_interval must be above 0",
    ("--dataset", "nothing"): "unknown dataset",
    ("--what", "templates"): "--what templates is one figure of the whole video",
}


@pytest.mark.parametrize("flags", WRONG, ids=" ".join)
def test_wrong_input_is_one_line(flags, experiment, clip, tmp_path, capsys) -> None:
    given = {"--init_box": BOX, "--output": str(tmp_path / "out"), "--formats": "npz"} | dict([flags])
    assert run(experiment, clip, *(text for pair in given.items() for text in pair)) == 2
    assert WRONG[flags] in refused(capsys)
    assert not (tmp_path / "out").exists() or not [*(tmp_path / "out").glob(".*"), *(tmp_path / "out").glob("*.mp4")]


def test_unknown_videos_sequences_and_trackers_are_one_line(experiment, tmp_path, capsys) -> None:
    assert run(experiment, tmp_path / "none.mp4", "--init_box", BOX) == 2
    assert "none.mp4: no such video file or folder of images" in refused(capsys)
    folder = tmp_path / "mine" / "s0"
    folder.mkdir(parents=True)
    write_image(folder / "0.png", fakes.frames(1)[0])
    np.savetxt(folder / "groundtruth.txt", [fakes.BOX], delimiter=",")
    assert run(experiment, "s1", "--dataset", f"folder:{tmp_path / 'mine'}") == 2
    assert "no sequence 's1'" in refused(capsys)
    assert run_script(lambda: script.main(["seqtruck", "seqtrack_demo", str(folder), "--init_box", BOX])) == 2
    assert "frame 1: the last one is 0" in refused(capsys)
    write_image(folder / "1.png", fakes.frames(1)[0])
    assert run_script(lambda: script.main(["seqtruck", "seqtrack_demo", str(folder), "--init_box", BOX])) == 2
    assert "did you mean seqtrack?" in refused(capsys)


def test_a_figure_has_room_for_so_many_heads() -> None:
    observer = Observer(fakes.make_engine())
    with pytest.raises(InputError, match=r"^61 layers and heads in a figure: at most 48, choose fewer$"):
        Gallery(observer, Path("none"), KINDS, ("png",), decoder=Layers(list(range(6)), list(range(10))))


def test_numbers_and_maps_are_chosen() -> None:
    assert parse_numbers("3,1-2,10-20:5, 7", "frames") == [1, 2, 3, 7, 10, 15, 20]
    for text in ("", "1,", "-1", "1-2-3", "1:2", "1-5:0", "1234567", "²"):
        with pytest.raises(InputError, match=r"^--frames: "):
            parse_numbers(text, "frames")
    assert choose("mean", 3, "layer", "") is None and choose("all", 3, "layer", "") == [0, 1, 2]
    maps = np.random.default_rng(0).random((4, 3, 2, 5, 5))
    ((name, mean),) = select_maps(maps, None, None)
    assert name == "mean of 3 layers\nmean of 2 heads" and np.allclose(mean, maps.mean(axis=(1, 2)))
    chosen = dict(select_maps(maps, [0, 2], [1]))
    assert list(chosen) == ["layer 0\nhead 1", "layer 2\nhead 1"] and np.array_equal(
        chosen["layer 2\nhead 1"], maps[:, 2, 1]
    )


@pytest.mark.parametrize("order", ["xywh", "whxy", "corner"])
def test_lines_of_the_tokens_end_in_the_box(order: str) -> None:
    vocabulary = CoordinateVocabulary(30, order)
    view, tokens = TokenView(vocabulary), vocabulary.encode(torch.tensor([0.2, 0.3, 0.4, 0.5])).numpy()
    upright, level = view.edges(tokens)
    x1, y1, x2, y2 = view.box(tokens)
    np.testing.assert_allclose([*upright, *level], [x1, x2, y1, y2], atol=1e-6)
    first = ([], []) if order == "whxy" else ([tokens[0] / 29], [])
    assert view.edges(tokens[:1]) == first
    for step in range(4 if order != "whxy" else 0):  # each bin is where it would put the line that it says
        ends = [places[tokens[step]] for places in view.places(tokens, step)]
        lines = view.edges(tokens[: step + 1])[view.names[step][0] in "yh"]
        assert all(np.isclose(lines, end).any() for end in ends)
