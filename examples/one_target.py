"""Follow one object through a video and write its boxes.

python examples/one_target.py clip.mp4 295,12,300,227 boxes.jsonl
"""

import json
import sys
from pathlib import Path

import seqtrack


def main(video: str, box: str, output: str) -> None:
    """Write one line of JSON for each frame."""
    init_box = [float(number) for number in box.split(",")]
    with Path(output).open("w") as file:
        for index, (_, result) in enumerate(seqtrack.track_video(video, init_box)):
            file.write(json.dumps({"frame": index, **result.as_dict()}) + "\n")
            if result.lost:
                print(f"frame {index}: lost, looking for it")


if __name__ == "__main__":
    main(*sys.argv[1:])
