"""Attributes come from the files of each dataset and reach the table and the radar."""

import csv
from pathlib import Path

import cv2
import pytest

import tracking.analysis_results as analysis
import tracking.check_data as doctor
from lib.data.attributes import known_attributes, parse_attributes, unexpected_counts
from lib.test.analysis import plots
from lib.test.evaluation import SequenceList
from lib.utils.cli import run_script
from lib.utils.errors import DataError
from tests.data import fabricate
from tests.data.fabricate import load, write


def shown(sequences: SequenceList) -> dict[str, tuple[str, ...] | None]:
    return {sequence.name: sequence.attributes for sequence in sequences}


def flags(count: int, *columns: int) -> str:
    """A row of ``count`` zeros with a one in some ``columns``, counted from 0."""
    return ",".join(str(int(column in columns)) for column in range(count)) + "\n"


@pytest.mark.parametrize(("inner", "prefix"), [("/UAV123", ""), ("", "UAV123/")])
def test_uav(tmp_path: Path, inner: str, prefix: str) -> None:
    fabricate.write_uav(tmp_path / "uav", inner, prefix)
    assert set(shown(load(tmp_path, "uav")).values()) == {None}
    folder = tmp_path / "uav" / f"{prefix}anno{inner}" / "att"
    for name, columns in {"bike1": (0, 11), "car1_2": (4,), "car12": ()}.items():
        write(folder / f"{name}.txt", flags(12, *columns))
    found = shown(load(tmp_path, "uav"))
    assert found["uav_bike1"] == ("Scale Variation", "Similar Object")
    assert found["uav_car1_2"] == ("Full Occlusion",)
    assert found["uav_car12"] == ()  # known to show none
    assert found["uav_bike2"] is None


@pytest.mark.parametrize("folder", ["att", "annos/att", "LaSOTBenchmark/att"])
def test_lasot(tmp_path: Path, folder: str) -> None:
    fabricate.write_lasot(tmp_path / "lasot")
    write(tmp_path / "lasot" / "bear" / "bear-2" / "out_of_view.txt", "0,0,0")
    found = shown(load(tmp_path, "lasot"))  # without files the flags of the frames tell two attributes
    assert found["airplane-1"] == ("Full Occlusion", "Out-of-View")
    assert found["bear-2"] == ("Full Occlusion",)
    write(tmp_path / "lasot" / folder / "airplane-1.txt", flags(14, 0, 13).replace(",", " "))
    found = shown(load(tmp_path, "lasot"))
    assert found["airplane-1"] == ("Illumination Variation", "Aspect Ratio Change")
    assert found["bear-2"] is None


def test_lasot_extension_has_the_same_attributes(tmp_path: Path) -> None:
    fabricate.write_lasot(tmp_path / "lasot_extension_subset", "lasot_extension_subset")
    write(tmp_path / "lasot_extension_subset" / "att" / "atv-1.txt", flags(14, 3))
    assert shown(load(tmp_path, "lasot_extension_subset"))["atv-1"] == ("Motion Blur",)


@pytest.mark.parametrize(("separate", "folder"), [("", ""), ("-", "OTB100")])
def test_otb(tmp_path: Path, separate: str, folder: str) -> None:
    fabricate.write_otb(tmp_path / "otb" / folder, separate=separate)
    assert set(shown(load(tmp_path, "otb")).values()) == {None}
    att = tmp_path / "otb" / folder / "anno" / "att"
    write(att / "basketball.txt", flags(11, 1).replace(",", "\t"))
    write(att / "jogging-2.txt", flags(11, 8))
    write(tmp_path / "otb" / folder / "Biker" / "attrs.txt", "sv, OCC\nLR\n")
    found = shown(load(tmp_path, "otb"))
    assert found["Basketball"] == ("Out-of-Plane Rotation",)
    assert found["Jogging_2"] == ("Out-of-View",)
    assert found["Biker"] == ("Scale Variation", "Occlusion", "Low Resolution")
    assert found["Jogging_1"] is None


def test_nfs_knows_occlusion_only(tmp_path: Path) -> None:
    fabricate.write_nfs(tmp_path / "nfs", "repack")
    found = shown(load(tmp_path, "nfs"))
    assert found["nfs_Skydiving"] == ("Occlusion",)
    assert found["nfs_Gymnastics"] == ()
    assert sum(map(len, found.values())) == sum(row["occlusion"] == "1" for row in fabricate.rows("nfs")) > 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (flags(11, 0), "bike1.txt: 11 columns for 12 attributes"),
        ("SV, XY", "bike1.txt: unknown attribute 'XY'; known: SV, ARC, LR"),
        (" ,\n", "bike1.txt: the file is empty"),
        ("0,0,0,0,0,2,0,0,0,0,0,0", "unknown attribute '0'"),
    ],
)
def test_a_malformed_file_is_named(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_attributes(text, "bike1.txt", known_attributes("uav"))


def test_columns_in_another_order_are_noticed() -> None:
    counts = {attribute.name: attribute.sequences for attribute in known_attributes("uav")}
    assert len(set(counts.values())) == 12  # so that no two columns can be exchanged unseen
    assert unexpected_counts("uav", counts) == []
    swapped = counts | {"Fast Motion": counts["Low Resolution"], "Low Resolution": counts["Fast Motion"]}
    (line,) = unexpected_counts("uav", swapped)
    assert line.startswith("2 of 12 attributes") and "Low Resolution: 28, not 48" in line
    assert unexpected_counts("lasot", {"Full Occlusion": 3, "Out-of-View": 1}) == []  # from the flags of the frames


def write_counted_uav(root: Path) -> Path:
    """UAV123 in which as many sequences show each attribute as should, each those that come first."""
    fabricate.write_uav(root)
    known, folder = known_attributes("uav"), root / "anno" / "UAV123" / "att"
    for index, row in enumerate(fabricate.rows("uav")):
        columns = [column for column, attribute in enumerate(known) if index < attribute.sequences]
        write(folder / row["annotation"].rpartition("/")[2], flags(12, *columns))
    return folder


@pytest.fixture
def uav(tmp_path: Path) -> Path:
    """The dataset, and results that are the ground truth in the first 50 sequences and far off in the others."""
    write_counted_uav(tmp_path / "data" / "uav")
    results = tmp_path / "test" / "tracking_results" / "seqtrack" / "cfg" / "uav"
    for index, sequence in enumerate(load(tmp_path / "data", "uav")):
        far = 0 if index < 50 else 5000
        boxes = [f"{10 + frame + far * (frame > 0)}\t20\t30\t40\n" for frame in range(len(sequence.frames))]
        write(results / f"{sequence.name}.txt", "".join(boxes))
    return tmp_path


def analyse(root: Path) -> int:
    places = ["--data_dir", str(root / "data"), "--save_dir", str(root), "--dataset", "uav"]
    return run_script(lambda: analysis.main([*places, "--per_attribute"]))


def table(root: Path) -> dict[str, float]:
    with (root / "test" / "result_plots" / "uav" / "per_attribute.csv").open() as file:
        return {row["attribute"]: float(row["cfg"]) for row in csv.DictReader(file)}


def test_from_the_files_to_the_table_and_the_radar(
    uav: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(plots, "PLOTS", ())  # only the radar
    assert analyse(uav) == 0
    scores = table(uav)
    assert list(scores) == sorted(f"{a.name} ({a.sequences})" for a in known_attributes("uav"))
    perfect = scores["Fast Motion (28)"]
    assert perfect > 90
    assert scores["Scale Variation (109)"] == pytest.approx(perfect * 50 / 109, abs=1.0)  # the others score about 0
    image = cv2.imread(str(uav / "test" / "result_plots" / "uav" / "attributes.png"))
    assert min(image.shape[:2]) > 500
    assert capsys.readouterr().err == ""

    folder = uav / "data" / "uav" / "anno" / "UAV123" / "att"
    for path in folder.iterdir():  # exchange two columns
        values = path.read_text().strip().split(",")
        path.write_text(",".join([values[1], values[0], *values[2:]]))
    assert analyse(uav) == 0
    assert table(uav)["Aspect Ratio Change (109)"] == scores["Scale Variation (109)"]
    assert "Scale Variation: 68, not 109" in capsys.readouterr().err

    (folder / "bike2.txt").unlink()
    assert analyse(uav) == 2  # a table of the others would be silently incomplete
    assert "1 of 123 sequences have no attribute file, the first is uav_bike2" in capsys.readouterr().err


def test_check_data_says_what_is_odd(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_counted_uav(tmp_path / "uav")

    def remarks() -> str:
        doctor.main(["uav", "--data_dir", str(tmp_path), "--show", "1000"])
        return capsys.readouterr().out.partition("remarks: ")[2]

    assert "attribute" not in remarks()
    (folder / "bike1.txt").write_text(flags(12))
    assert "uav: " not in remarks() and "12 of 12 attributes are shown by more or fewer sequences" in remarks()
    (folder / "bike1.txt").unlink()
    assert "1 of 123 sequences have no attribute file" in remarks()
