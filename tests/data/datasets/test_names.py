import unicodedata

import pytest

from fgsam_jax.data.datasets.names import check_distinct, is_missing
from fgsam_jax.errors import InputError


@pytest.mark.parametrize("text", ["", " ", "nan", "NaN", "NULL", "None", "NA", "N/A", "<NA>"])
def test_what_a_table_writes_for_nothing_is_missing(text):
    assert is_missing(text)


@pytest.mark.parametrize("text", ["Nana", "0", "-1", "Nona", "n", "unknown", "A/N"])
def test_a_name_is_not_missing(text):
    assert not is_missing(text)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Anna", "anna"),
        ("Straße", "STRASSE"),
        (unicodedata.normalize("NFC", "José"), unicodedata.normalize("NFD", "José")),
        ("Anna Bo", "Anna  Bo"),
        ("Anna Bo", "Anna\u00a0Bo"),
        ("Anna", "Anna\u200b"),
        ("1", "01"),
        ("1", "1.0"),
        ("0", "0000"),
        ("12", "１２"),
    ],
)
def test_two_writings_of_one_name_are_refused_and_both_are_said(first, second):
    with pytest.raises(InputError, match=r"own.csv: the cameras .* seem to be one") as error:
        check_distinct("own.csv: the cameras", {first: " (line 2)", second: " (line 7)"})
    for name, where in ((first, " (line 2)"), (second, " (line 7)")):
        told = str(error.value)
        assert repr(name) + where in told or ascii(name) + where in told


def test_names_that_look_the_same_are_shown_by_their_characters():
    with pytest.raises(InputError, match=r"'Jos\\xe9' and 'Jose\\u0301' seem to be one"):
        check_distinct("people", {"Jos\xe9": "", "Jose\u0301": ""})


def test_different_names_are_accepted():
    names = ["Anna", "Ana", "Anna B", "1", "2", "10", "1a", "-1", "A1", "A01", "x" * 9999, "0" * 9]
    check_distinct("people", dict.fromkeys(names, ""))
