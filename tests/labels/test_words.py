import pytest

from fgsam_jax.labels.attributes import DUKEMTMC, MARKET1501, PETA, Attribute
from fgsam_jax.labels.words import understand

ASKED = {
    "female, red top, backpack": (
        {"gender": "female", "upper_colour": "red", "backpack": "yes"}, []),
    "a woman in a red shirt and blue jeans with long hair, no hat": (
        {"gender": "female", "upper_colour": "red", "lower_type": "pants",
         "lower_colour": "blue", "hair": "long", "hat": "no"}, []),
    "top: GREY": ({"upper_colour": "gray"}, []),
    "elderly man without a bag carrying an umbrella": (
        {"age": "old", "gender": "male", "bag": "no"}, ["umbrella"]),
    "pink top, red trousers": ({"lower_type": "pants"}, ["pink", "top", "red"]),
    "red blue top": ({"upper_colour": "red"}, ["blue"]),
    "no red top": ({}, ["no", "top", "red"]),
    "green": ({}, ["green"]),
    "$(rm -rf /); <b>": ({}, ["rm", "-rf", "b"]),
    "": ({}, []),
}  # fmt: skip


@pytest.mark.parametrize("text", ASKED)
def test_words_name_classes_and_the_rest_is_told(text):
    wanted, unknown = understand(text, MARKET1501)
    assert wanted == ASKED[text][0]
    assert sorted(unknown) == sorted(ASKED[text][1])


def test_a_word_means_what_the_model_has():
    assert understand("skirt", MARKET1501).wanted == {"lower_type": "dress"}
    assert understand("skirt", PETA).wanted == {"lower_type": "skirt"}
    assert understand("dark shoes, boots", DUKEMTMC).wanted == {
        "shoe_colour": "dark", "boots": "yes"}  # fmt: skip
    assert understand("female, backpack", ()) == ({}, ["female", "backpack"])


def test_attributes_of_ones_own_are_known_by_their_names():
    own = (Attribute("socks", "lower_leg", ("plain", "striped")),)
    assert understand("striped socks", own).wanted == {"socks": "striped"}
