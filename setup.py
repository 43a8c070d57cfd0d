"""Packaging: the one list of dependencies. Exact versions that are known to work together: constraints.txt."""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

PATH_FILES = (("lib.train.admin", "local"), ("lib.test.evaluation", "local"))
SHIPPED_FILES = ("experiments/seqtrack/*.yaml", "data/demo/*.pth.tar", "data/demo/*.score.json")
"""What tracking needs beside code; in a wheel it is in ``lib/shipped``, where lib/config/paths.py looks."""


class BuildLibrary(build_py):
    """Adds experiments and bundled weights, and leaves out the path settings of whoever builds.

    MANIFEST.in does both for source archives.
    """

    def find_package_modules(self, package, package_dir):
        """Modules of a package as (package, module, file)."""
        found = super().find_package_modules(package, package_dir)
        return [entry for entry in found if tuple(entry[:2]) not in PATH_FILES]

    def run(self):
        """Build, and remove what earlier builds left."""
        super().run()
        if self.editable_mode:
            return
        for package, module in PATH_FILES:
            Path(self.build_lib, *package.split("."), f"{module}.py").unlink(missing_ok=True)
        shipped = Path(self.build_lib, "lib", "shipped")
        shutil.rmtree(shipped, ignore_errors=True)
        for source in (file for pattern in SHIPPED_FILES for file in sorted(Path().glob(pattern))):
            (shipped / source).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, shipped / source)


setup(
    name="seqtrack",
    version="0.1.0",
    description="SeqTrack (CVPR 2023): visual object tracking as sequence generation",
    license="Apache-2.0",
    python_requires=">=3.10",
    cmdclass={"build_py": BuildLibrary},
    packages=find_packages(include=["lib", "lib.*", "seqtrack"]),
    package_data={"lib": ["**/*.csv", "**/*.json", "**/*.html", "**/*.css", "**/*.js"], "seqtrack": ["py.typed"]},
    install_requires=[
        "torch>=2.4",
        "torchvision>=0.19",
        "timm>=1.0",
        "safetensors>=0.4",
        "opencv-python>=4.8",
        "simplejpeg>=1.7",
        "numpy>=1.26",
        "tqdm>=4.66",
        "PyYAML>=6.0",
        "easydict>=1.11",
        "tensorboard>=2.15",
        "lmdb>=1.4",
        "pycocotools>=2.0.7",
        "matplotlib>=3.8",
    ],
    extras_require={
        "vot": ["vot-toolkit==0.7.4", "attributee==0.1.9", "vot-trax>=4.0.2"],
        "profile": ["thop>=0.1.1"],
        "demo": ["onnx>=1.16"],
        "onnx": ["onnx>=1.16", "onnxruntime>=1.18", "onnxscript>=0.3"],
        "openvino": ["onnx>=1.16", "onnxscript>=0.3", "openvino>=2025.0"],
        "video": ["av>=13"],
        "formats": ["defusedxml>=0.7.1"],
        "hub": ["huggingface_hub>=0.30"],
        "serve": ["defusedxml>=0.7.1", "python-multipart>=0.0.20", "starlette>=0.47", "uvicorn>=0.35"],
        "dev": [
            "defusedxml>=0.7.1",
            "huggingface_hub>=0.30",
            "mypy>=1.11",
            "onnx>=1.16",
            "onnxruntime>=1.18",
            "onnxscript>=0.3",
            "openvino>=2025.0",
            "pytest>=8.0",
            "pytest-xdist>=3.7",
            "python-multipart>=0.0.20",
            "ruff>=0.9",
            "setuptools>=64",
            "starlette>=0.47",
            "uvicorn>=0.35",
            "vot-trax>=4.0.2",
        ],
    },
)
