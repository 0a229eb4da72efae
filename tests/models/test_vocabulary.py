import pytest

from models import vocabulary

HEADER = "label,breed,stanford,tsinghua\n"


def test_the_committed_table_holds_the_120_breeds_of_stanford(vocabulary_text):
    table = vocabulary.parse(vocabulary_text)

    assert len(table.breeds) == 120
    assert len(table.spellings["stanford"]) == 120
    assert set(table.spellings["stanford"].values()) == set(table.breeds)


@pytest.mark.parametrize(
    "spelling",
    ["Shih-Tzu", "flat-coated_retriever", "curly-coated_retriever", "black-and-tan_coonhound"],
)
def test_names_with_hyphens_are_known(spelling, vocabulary_text):
    assert vocabulary.parse(vocabulary_text).canonical("stanford", spelling) is not None


def test_two_retrievers_are_two_breeds(vocabulary_text):
    table = vocabulary.parse(vocabulary_text)

    curly = table.canonical("stanford", "curly-coated_retriever")
    flat = table.canonical("stanford", "flat-coated_retriever")

    assert table.label(curly) != table.label(flat)


def test_the_label_is_the_number_of_the_row():
    table = vocabulary.parse(HEADER + "0,beagle,beagle,Beagle\n1,husky,Siberian_husky,\n")

    assert [table.label(breed) for breed in table.breeds] == [0, 1]


def test_each_source_has_its_own_spellings():
    table = vocabulary.parse(HEADER + "0,beagle,beagle,Beagle\n1,husky,Siberian_husky,\n")

    assert table.canonical("tsinghua", "Beagle") == "beagle"
    assert table.canonical("stanford", "Beagle") is None
    assert table.canonical("tsinghua", "") is None
    assert table.canonical("nowhere", "beagle") is None


def test_a_label_that_is_not_its_row_is_an_error():
    with pytest.raises(ValueError, match="row 2 has label 2, not 1"):
        vocabulary.parse(HEADER + "0,beagle,beagle,\n2,husky,husky,\n")


def test_a_breed_that_stands_twice_is_an_error():
    with pytest.raises(ValueError, match="twice"):
        vocabulary.parse(HEADER + "0,beagle,a,\n1,beagle,b,\n")
