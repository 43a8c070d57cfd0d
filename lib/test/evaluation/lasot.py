"""LaSOT (280 test videos) and its extension (150 videos of 15 new classes).

Official layout: ``<class>/<class>-<n>/`` with ``groundtruth.txt``, ``full_occlusion.txt``, ``out_of_view.txt`` and
``img/00000001.jpg``, ... Also found: without the folders of the classes, and one folder deeper, as the archives unpack.
The 14 attributes come from ``att/<sequence>.txt`` of the evaluation toolkit, if that is there; without it, full
occlusion and out of view are known, from the flags of the frames.
Sources: Fan et al., CVPR 2019; Fan et al., IJCV 2021.
"""

from lib.test.evaluation.attributes import AttributeFiles
from lib.test.evaluation.data import Entry, Sequence, read_ground_truth
from lib.test.evaluation.layout import choose_layout, numbered_frames, read_table, require_file
from lib.utils.box_text import parse_integers
from lib.utils.errors import DataError
from lib.utils.files import read_names
from lib.utils.storage import Storage

ARCHIVES = {"lasot": ("LaSOTBenchmark", "LaSOTTest"), "lasot_extension_subset": ("LaSOT_extension_subset",)}
FLAGS = {"full_occlusion.txt": "Full Occlusion", "out_of_view.txt": "Out-of-View"}
"""Files of flags, and the attribute of a sequence that has one set."""
TEST_LIST, TRAIN_LIST = "testing_set.txt", "training_set.txt"
ATTRIBUTE_FOLDERS = ("att", "annos/att", "LaSOT_Evaluation_Toolkit/annos/att")


def has_test(storage: Storage) -> bool:
    """Whether the test split is there, and not just the training split that the renderer wrote and listed."""
    return not storage.exists(TRAIN_LIST) or storage.exists(TEST_LIST)


def lasot_entries(storage: Storage, tag: str = "lasot") -> list[Entry]:
    """Test sequences in the published order, or those of ``testing_set.txt`` if it lists none of them.

    Args:
        storage: the dataset.
        tag: ``lasot`` or ``lasot_extension_subset``.

    Raises:
        DataError: if the layout is not known.
    """
    names = [(row["class"], f"{row['class']}-{n}") for row in read_table(tag) for n in row["numbers"].split()]
    if tag == "lasot" and storage.exists(TEST_LIST):
        listed = [name for _, name in read_names(storage.read_text(TEST_LIST), str(storage.root / TEST_LIST))]
        if listed and not {name for _, name in names}.intersection(listed):
            names = [(name.rpartition("-")[0] or name, name) for name in listed]
    prefixes = ("", *(f"{folder}/" for folder in ARCHIVES[tag]))
    layouts = [prefix + folder for prefix in prefixes for folder in ("{kind}/{name}", "{name}")]
    layout = choose_layout(
        storage,
        layouts,
        lambda layout: (f"{layout.format(kind=kind, name=name)}/img/00000001.jpg" for kind, name in names),
    )

    folders = [prefix + folder for prefix in prefixes for folder in ATTRIBUTE_FOLDERS]
    attributes = AttributeFiles(storage, folders, "lasot")  # those of the extension are the same

    def entry(kind: str, name: str) -> Entry:
        return Entry(name, lambda: _load(storage, layout.format(kind=kind, name=name), tag, kind, name, attributes))

    return [entry(kind, name) for kind, name in names]


def _load(storage: Storage, folder: str, tag: str, kind: str, name: str, attributes: AttributeFiles) -> Sequence:
    ground_truth = read_ground_truth(storage, require_file(storage, folder, "groundtruth.txt"))
    frames = numbered_frames(storage, f"{folder}/img", 1, len(ground_truth), 8, ends=True)
    absent, flagged = False, []
    for file, attribute in FLAGS.items():
        path = require_file(storage, folder, file)
        flags = parse_integers(storage.read_text(path), str(storage.root / path))
        if len(flags) != len(ground_truth):
            raise DataError(f"{storage.root / path}: {len(flags)} flags for {len(ground_truth)} boxes")
        absent = absent | (flags != 0)
        flagged += [attribute] if flags.any() else []
    shown = attributes.read(name) if attributes else tuple(flagged)
    return Sequence(
        name, frames, tag, ground_truth, target_visible=~absent, object_class=kind, storage=storage, attributes=shown
    )
