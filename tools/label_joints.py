"""Joints of the people in a folder of crops, found by the pose net of a run, in COCO's format.

    python tools/label_joints.py runs/market data/own --to own_joints.json

RUN is a run's folder, FOLDER one of crops, one person in each; images in its folders count too.
The file is what config.pose_data.joints takes, with the folder as config.pose_data.source
(docs/own_data.md). Its joints are as good as the pose net: look at the contact sheet that
tools/prepare.py draws of them.
"""

import json
from argparse import RawDescriptionHelpFormatter

from fgsam_jax.errors import InputError
from fgsam_jax.runtime.entry import Parser, one_line
from fgsam_jax.runtime.files import expanded


def main(arguments: list[str] | None = None) -> None:
    """Label as the command line says. Raises InputError for what the user can mend."""
    parser = Parser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN")
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--to", required=True, metavar="PATH", help="a .json")
    parser.add_argument("--phase", default="pose", help="of the run, whose pose net it is")
    parser.add_argument("--which", default="last", choices=["last", "best"], help="checkpoint")
    given = parser.parse_args(arguments)
    from fgsam_jax.data.datasets.image_files import images_below
    from fgsam_jax.retrieval.joints import coco_joints, find_joints

    folder, target = expanded(given.folder), expanded(given.to)
    paths = list(images_below(folder))
    if not paths:
        raise InputError(f"{folder} holds no image: give a folder of .jpg, .png or .bmp")
    joints, sizes = find_joints(expanded(given.run), paths, given.phase, given.which)
    names = [path.relative_to(folder).as_posix() for path in paths]
    content = coco_joints(names, joints, sizes)
    try:
        target.write_text(json.dumps(content))
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror}") from None
    people = content["annotations"]
    print(f"written: {target}, joints of people in {len(people):,} of {len(paths):,} images")


if __name__ == "__main__":
    with one_line():
        main()
