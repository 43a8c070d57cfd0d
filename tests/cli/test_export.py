"""tracking/export.py: mistakes end early and write nothing; the formats and precisions are exported whole."""

import pytest
import torch

from lib.config.seqtrack.config import load_config
from lib.models.seqtrack import build_seqtrack
from lib.test.tracker import formats
from lib.test.tracker.formats import FORMATS
from lib.utils.checkpoint import save_checkpoint
from lib.utils.cli import run_script
from tests.tracker import fakes
from tracking import profile_model, test, video_demo
from tracking.export import main


@pytest.fixture
def weights(experiment, tmp_path):
    """Flags that name a tiny experiment and its weights."""
    path = experiment()
    checkpoint = tmp_path / "tiny.pth.tar"
    save_checkpoint({"net": fakes.weights(build_seqtrack(load_config(path)))}, checkpoint)
    return ["--config", str(path), "--checkpoint", str(checkpoint)]


def run(*arguments) -> int:
    return run_script(lambda: main([*map(str, arguments)]))


def test_mistakes_write_nothing(weights, tmp_path, monkeypatch, capsys):
    output = tmp_path / "exported"
    monkeypatch.setattr(formats, "to_onnx", lambda graph: pytest.fail("it exports"))
    for flags, message in (
        (["--checkpoint", tmp_path / "gone.pth.tar"], "gone.pth.tar: no such checkpoint"),
        (["--config", "seqtrack_b257"], "did you mean seqtrack_b256?"),
        (["--format", "torch_export", "--precision", "int8"], "torch_export goes with the precision float32"),
    ):
        capsys.readouterr()
        assert run(*weights, "--output", output, *flags) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert not output.exists()


def test_an_operator_that_onnx_does_not_have_is_one_line(weights, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnxscript", reason="exporting needs onnxscript")

    def fail(*args, custom_translation_table, **options):
        raise torch.onnx.OnnxExporterError("long text") from ValueError("no ONNX function for seqtrack.packed\nmore")

    monkeypatch.setattr(torch.onnx, "export", fail)
    assert run(*weights, "--output", tmp_path / "exported") == 2
    error = capsys.readouterr().err
    assert "cannot be exported to ONNX: no ONNX function for seqtrack.packed" in error and error.count("\n") == 1
    assert not (tmp_path / "exported").exists()


def test_scripts_pass_the_backend_on(weights, tmp_path):
    flags = ["--backend", "openvino", *weights[2:], "--save_dir", str(tmp_path)]
    args = test.parse_args(["seqtrack", weights[1], "--dataset", "otb", *flags])
    assert test.make_recipe(args, "otb", tmp_path, "cpu")[1].backend == "openvino"
    args = video_demo.parse_args(["seqtrack", weights[1], "clip.mp4", *flags])
    assert video_demo.make_recipe(args).parameters("cpu").backend == "openvino"
    assert profile_model.parse_args(["--backend", "onnxruntime"]).backend == "onnxruntime"


@pytest.mark.endurance
@pytest.mark.parametrize(
    "arguments", ["onnx float16", "onnx int8", "openvino float32", "openvino int8", "torch_export float32"]
)
def test_formats_and_precisions(weights, tmp_path, capsys, arguments):
    format, precision = arguments.split()
    package = {"onnx": "onnxruntime", "openvino": "openvino", "torch_export": "torch"}[format]
    pytest.importorskip(package)
    output = tmp_path / "exported"
    assert run(*weights, "--output", output, "--format", format, "--precision", precision) == 0
    printed = capsys.readouterr().out
    suffix = FORMATS[format].suffix
    assert {file.name for file in output.iterdir()} >= {f"embed_template{suffix}", f"step{suffix}"}
    assert "exporting step" in printed and "within 2 bins" in printed and f"step{suffix} (" in printed
    _, facts = FORMATS[format].open(output / f"step{suffix}")
    assert facts["config"] == "tiny" and facts["precision"] == precision
