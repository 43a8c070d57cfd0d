"""UAV123.

Official layout: ``data_seq/UAV123/<video>/000001.jpg``, ... and ``anno/UAV123/<sequence>.txt``, with NaN where the
target is out of view. Long videos are cut into sequences that share a folder of frames (91 folders, 123 sequences).
``anno/UAV123/att/<sequence>.txt`` names the attributes.
Also found: in a folder ``UAV123``, and without the inner folders ``UAV123``. Source: Mueller et al., ECCV 2016.
"""

from lib.test.evaluation.attributes import AttributeFiles
from lib.test.evaluation.data import Entry, Sequence, read_ground_truth
from lib.test.evaluation.layout import choose_layout, numbered_frames, read_table, require_file
from lib.utils.storage import Storage

TAG = "uav"
LAYOUTS = (
    "{part}/UAV123",
    "UAV123/{part}/UAV123",
    "Dataset_UAV123/UAV123/{part}/UAV123",
    "{part}",
    "UAV123/{part}",
)


def uav_entries(storage: Storage) -> list[Entry]:
    """The 123 sequences in the published order.

    Raises:
        DataError: if the layout is not known.
    """
    rows = read_table("uav")
    layout = choose_layout(
        storage,
        LAYOUTS,
        lambda layout: (f"{layout.format(part='data_seq')}/{_video(row)}/000001.jpg" for row in rows),
    )

    attributes = AttributeFiles(storage, [f"{layout.format(part='anno')}/att"], TAG)

    def entry(row: dict[str, str]) -> Entry:
        return Entry(row["name"], lambda: _load(storage, layout, row, attributes))

    return [entry(row) for row in rows]


def _video(row: dict[str, str]) -> str:
    return row["frames_dir"].rpartition("/")[2]


def _load(storage: Storage, layout: str, row: dict[str, str], attributes: AttributeFiles) -> Sequence:
    first, last = int(row["first_frame"]), int(row["last_frame"])
    file = row["annotation"].rpartition("/")[2]
    truth_file = require_file(storage, layout.format(part="anno"), file)
    ground_truth = read_ground_truth(storage, truth_file, last - first + 1, allow_nan=True)
    folder = f"{layout.format(part='data_seq')}/{_video(row)}"
    frames = numbered_frames(storage, folder, first, last, int(row["digits"]))
    shown, kind = attributes.read(file.removesuffix(".txt")), row["object_class"]
    return Sequence(row["name"], frames, TAG, ground_truth, object_class=kind, storage=storage, attributes=shown)
