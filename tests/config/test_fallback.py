from lib.config.seqtrack.config import default_config
from lib.config.seqtrack.fallback import overrides_without_files


def test_missing_files_are_done_without(tmp_path):
    (tmp_path / "photos").mkdir()
    wanted = {
        "DATA.SYNTHETIC.BACKGROUNDS": str(tmp_path / "photos"),
        "DATA.SYNTHETIC.CUTOUTS": str(tmp_path / "cutouts"),
        "MODEL.ENCODER.PRETRAIN_TYPE": str(tmp_path / "weights.pth"),
    }
    allowed = {"TRAIN.ALLOW_MISSING_FILES": True}
    assert overrides_without_files(default_config(wanted)) == {}
    missing = overrides_without_files(default_config(wanted | allowed))
    assert missing == {
        "DATA.SYNTHETIC.CUTOUTS": "",
        "MODEL.ENCODER.PRETRAIN_TYPE": "sincos",
        "TRAIN.ENCODER_MULTIPLIER": 1.0,
    }
    (tmp_path / "cutouts").mkdir()
    (tmp_path / "weights.pth").touch()
    assert overrides_without_files(default_config(wanted | allowed)) == {}


def test_names_of_weights_are_no_files():
    for name in ("mae", "default", "scratch", "sincos"):
        cfg = default_config({"MODEL.ENCODER.PRETRAIN_TYPE": name, "TRAIN.ALLOW_MISSING_FILES": True})
        assert overrides_without_files(cfg) == {}
