"""OTB-100.

Official layout: ``<video>/img/0001.jpg``, ... and ``<video>/groundtruth_rect.txt``, separated by commas, tabs or
spaces; videos with two targets have ``groundtruth_rect.1.txt`` and ``.2.txt``. Also found: in a folder ``OTB100``,
and with a folder for each target (``Jogging-1``, ``Jogging.1`` or ``Jogging_1``). Attributes come from the files of
toolkits, if they are there: ``<video>/attrs.txt`` or ``anno/att/<sequence>.txt``. Source: Wu et al., PAMI 2015.
"""

from lib.test.evaluation.attributes import AttributeFiles
from lib.test.evaluation.data import Entry, Sequence, read_ground_truth
from lib.test.evaluation.layout import choose_layout, numbered_frames, read_table, require_file
from lib.utils.storage import Storage
from lib.utils.video_folder import find_file

TAG = "otb"
LAYOUTS = ("{folder}", "OTB100/{folder}", "OTB2015/{folder}", "data/{folder}")
ATTRIBUTE_FOLDERS = ("anno/att", "att")


def otb_entries(storage: Storage) -> list[Entry]:
    """The 100 sequences in the published order.

    Raises:
        DataError: if the layout is not known.
    """
    rows = read_table("otb")
    layout = choose_layout(
        storage, LAYOUTS, lambda layout: (_first_frame(layout.format(folder=_video(row)), row) for row in rows)
    )

    prefix = layout.removesuffix("{folder}")
    folders = [place + folder for place in dict.fromkeys([prefix, ""]) for folder in ATTRIBUTE_FOLDERS]
    attributes = AttributeFiles(storage, folders, TAG)

    def entry(row: dict[str, str]) -> Entry:
        return Entry(row["name"], lambda: _load(storage, layout, row, attributes))

    return [entry(row) for row in rows]


def _video(row: dict[str, str]) -> str:
    return row["frames_dir"].removesuffix("/img")


def _first_frame(folder: str, row: dict[str, str]) -> str:
    return f"{folder}/img/{int(row['first_frame']):0{row['digits']}d}.jpg"


def _load(storage: Storage, layout: str, row: dict[str, str], attributes: AttributeFiles) -> Sequence:
    name, video = row["name"], _video(row)
    separate = [name[: len(video)] + mark + name[len(video) + 1 :] for mark in "-._"] if name != video else []
    folders = [layout.format(folder=folder) for folder in (video, *separate)]
    folder = next((folder for folder in folders if storage.exists(_first_frame(folder, row))), folders[0])
    file = row["annotation"].rpartition("/")[2]
    truth_file = require_file(storage, folder, *dict.fromkeys([file, "groundtruth_rect.txt"]))
    first, last, skip = (int(row[key]) for key in ("first_frame", "last_frame", "skip_first"))
    ground_truth = read_ground_truth(storage, truth_file, last - first + 1)[skip:]
    frames = numbered_frames(storage, f"{folder}/img", first, last, int(row["digits"]))[skip:]
    shown, kind = attributes.read(name, find_file(storage, folder, "attrs.txt")), row["object_class"]
    return Sequence(name, frames, TAG, ground_truth, object_class=kind, storage=storage, attributes=shown)
