import os
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from trees import DUKE, open_table, write_attributes, write_duke, write_duke_attributes

from fgsam_jax.data.datasets.dukemtmc import DukeMTMC
from fgsam_jax.errors import InputError
from fgsam_jax.labels.attributes import DUKEMTMC


@pytest.fixture
def duke(tmp_path):
    return write_duke(tmp_path / "DukeMTMC-reID")


def test_splits_identities_and_cameras_are_read_from_the_names(duke, tmp_path):
    train, query, gallery = (
        open_table("dukemtmc", duke, tmp_path / "records", split, 32, 16)
        for split in ("train", "query", "gallery")
    )

    assert train.names.tolist() == DUKE["bounding_box_train"]
    assert train.identities.tolist() == [1, 1, 370]
    assert train.cameras.tolist() == [2, 2, 1]
    assert query.identities.tolist() == [2]
    assert gallery.identities.tolist() == [2, 14]
    assert gallery.cameras.tolist() == [2, 8]


def test_attributes_are_found_by_name_and_quirks_are_unlabelled(duke, tmp_path):
    write_duke_attributes(
        duke / "duke_attribute.mat",
        {
            ("0370", "top"): 0,
            ("0001", "top"): 2,
            ("0001", "shoes"): 2,
            ("0014", "downblue"): 2,
            ("0002", "upblack"): 1,
            ("0002", "downblack"): 1,
            ("0002", "downbrown"): 2,
        },
    )
    train = open_table("dukemtmc", duke, tmp_path / "records", "train", 32, 16)
    gallery = open_table("dukemtmc", duke, tmp_path / "records", "gallery", 32, 16)

    assert list(train.attributes) == [attribute.name for attribute in DUKEMTMC]
    assert train.attributes["upper_length"].tolist() == [1, 1, -1]
    assert train.attributes["shoe_colour"].tolist() == [1, 1, 0]
    assert gallery.attributes["lower_colour"].tolist() == [6, -1]
    assert gallery.attributes["upper_colour"].tolist() == [-1, 0]
    assert gallery.classes["lower_colour"][6] == "brown"


def test_the_attribute_file_of_another_set_is_refused(duke, tmp_path):
    other = write_attributes(tmp_path / "market_attribute.mat")

    with pytest.raises(InputError, match=r"DukeMTMC-reID's attributes .*duke_attribute\.mat"):
        open_table("dukemtmc", duke, tmp_path / "records", "train", 32, 16, other)
    left = [p for p in (tmp_path / "records").rglob("*") if p.is_file() and p.suffix != ".lock"]
    assert not left


def plain_reading(path, variable):
    """{identity: {field of the file: value}} by scipy alone."""
    content = scipy.io.loadmat(path, squeeze_me=True, struct_as_record=True)[variable]
    rows = {}
    for split in ("train", "test"):
        struct = content[split].item()
        for place, identity in enumerate(struct["image_index"].item()):
            rows[int(identity)] = {
                name: int(struct[name].item()[place])
                for name in struct.dtype.names
                if name != "image_index"
            }
    return rows


@pytest.mark.parametrize(
    ("builder", "people"), [("dukemtmc", 702 + 1110), ("market1501", 751 + 750)]
)
def test_the_published_file_is_read_as_plain_scipy_reads_it_identity_by_identity(builder, people):
    from fgsam_jax.data.datasets.market1501 import Market1501

    chosen = {"dukemtmc": DukeMTMC, "market1501": Market1501}[builder]
    path = Path(os.environ.get("FGSAM_DATA", "nowhere")) / f"{chosen.STRUCT}.mat"
    if not path.is_file():
        pytest.skip(f"FGSAM_DATA names no folder with {path.name}")
    plain = plain_reading(path, chosen.STRUCT)
    read = chosen.read_attributes(path)

    assert read.keys() == plain.keys()
    assert len(read) == people
    for identity, fields in plain.items():
        for attribute in chosen.ATTRIBUTES:
            field = chosen.FIELDS[attribute.name]
            if field.endswith("-"):
                worn = [c for c in attribute.classes if fields[field[:-1] + c] == 2]
                expected = attribute.classes.index(worn[0]) if len(worn) == 1 else -1
            else:
                expected = fields[field] - 1
            assert read[identity][attribute.name] == expected, (identity, attribute.name)


def test_the_published_file_has_the_published_statistics():
    path = Path(os.environ.get("FGSAM_DATA", "nowhere")) / "duke_attribute.mat"
    if not path.is_file():
        pytest.skip("FGSAM_DATA names no folder with duke_attribute.mat")
    labels = DukeMTMC.read_attributes(path)
    structs = scipy.io.loadmat(path, simplify_cells=True)["duke_attribute"]
    train, test = (
        [labels[int(identity)] for identity in structs[split]["image_index"]]
        for split in ("train", "test")
    )

    def counts(rows, name):
        return np.bincount(np.array([row[name] for row in rows]) + 1).tolist()

    assert counts(train, "upper_length") == [2, 593, 107]
    assert labels[370]["upper_length"] == labels[679]["upper_length"] == -1
    assert counts(train, "boots")[2] == 191
    assert counts(train, "shoe_colour")[2] == 104
    assert counts(train, "hat")[2] == 104
    assert counts(train, "backpack")[2] == 455
    assert counts(train, "bag")[2] == 118
    assert counts(train, "handbag")[2] == 30
    assert counts(train, "gender") == [0, 394, 308]
    assert counts(train, "upper_colour")[0] == 1
    assert counts(train, "lower_colour")[0] == 0
    assert counts(test, "upper_colour")[0] == 14
    assert counts(test, "lower_colour")[0] == 11 + 22 + 1
