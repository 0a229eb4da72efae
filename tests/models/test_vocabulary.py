import csv
import dataclasses
import hashlib
import pickle
import re

import pytest

from models import vocabulary

HEADER = "label,breed,stanford,tsinghua,austin\n"
SMALL = (
    HEADER
    + '0,golden retriever,golden_retriever,golden_retriever,"Retriever, Golden"\n'
    + "1,Shih-Tzu,Shih-Tzu,Shih_Tzu,Shih Tzu | Shih-Tzu Dog\n"
    + ",mixed / unknown,,,Unknown | Mixed Breed (Small)\n"
)

# What follows the second hyphen of the folders of Tsinghua Dogs.
TSINGHUA = re.split(
    r",\s+",
    """\
affenpinscher, Afghan_hound, African_hunting_dog, Airedale, American_Staffordshire_terrier,
Appenzeller, Australian_Shepherd, Australian_terrier, basenji, basset, beagle, Bedlington_terrier,
Bernese_mountain_dog, Bichon_Frise, black_and_tan_coonhound, Black_sable, Blenheim_spaniel,
bloodhound, bluetick, Border_collie, Border_terrier, borzoi, Boston_bull, Bouvier_des_Flandres,
boxer, Brabancon_griffo, briard, Brittany_spaniel, bull_mastiff, cairn, Cane_Carso, Cardigan,
Chesapeake_Bay_retriever, Chihuahua, Chinese_Crested_Dog, chinese_rural_dog, chow, clumber,
cocker_spaniel, collie, curly_coated_retriever, Dandie_Dinmont, dhole, dingo, Doberman,
English_foxhound, English_setter, English_springer, EntleBucher, Eskimo_dog, Fila Braziliero,
flat_coated_retriever, French_bulldog, German_shepherd, German_short_haired_pointer,
giant_schnauzer, golden_retriever, Gordon_setter, Great_Dane, Great_Pyrenees,
Greater_Swiss_Mountain_dog, groenendael, Ibizan_hound, Irish_setter, Irish_terrier,
Irish_water_spaniel, Irish_wolfhound, Italian_greyhound, Japanese_spaniel, Japanese_Spitzes,
keeshond, kelpie, Kerry_blue_terrier, komondor, kuvasz, Labrador_retriever, Lakeland_terrier,
Leonberg, Lhasa, malamute, malinois, Maltese_dog, Mexican_hairless, miniature_pinscher,
miniature_poodle, miniature_schnauzer, Newfoundland, Norfolk_terrier, Norwegian_elkhound,
Norwich_terrier, Old_English_sheepdog, otterhound, papillon, Pekinese, Pembroke, Pomeranian, pug,
redbone, Rhodesian_ridgeback, Rottweiler, Saint_Bernard, Saluki, Samoyed, schipperke,
Scotch_terrier, Scottish_deerhound, Sealyham_terrier, Shetland_sheepdog, Shiba_Dog, Shih_Tzu,
Siberian_husky, silky_terrier, soft_coated_wheaten_terrier, Staffordshire_bullterrier,
standard_poodle, standard_schnauzer, Sussex_spaniel, teddy, Tibetan_mastiff, Tibetan_terrier,
toy_poodle, toy_terrier, vizsla, Walker_hound, Weimaraner, Welsh_springer_spaniel,
West_Highland_white_terrier, whippet, wire_haired_fox_terrier, Yorkshire_terrier""",
)


@pytest.fixture(scope="module")
def table(vocabulary_text):
    return vocabulary.parse(vocabulary_text)


@pytest.fixture(scope="module")
def small():
    return vocabulary.parse(SMALL)


def test_the_committed_table_holds_130_breeds_the_first_120_are_those_of_stanford(table):
    assert len(table.breeds) == 130
    assert list(table.spellings["stanford"].values()) == table.breeds[:120]


def test_the_breeds_that_stanford_lacks_come_after_it(table):
    assert table.breeds[120:] == [
        "Fila Brasileiro", "Chinese crested", "Australian shepherd", "Cane Corso", "Japanese spitz",
        "black sable", "Shiba", "Bichon Frise", "Chinese rural dog", "teddy",
    ]  # fmt: skip


def test_a_label_never_changes_its_meaning(table):
    names = "\n".join(table.breeds[:130]).encode()

    assert hashlib.sha256(names).hexdigest() == (
        "74d1a2b03241e7e97d81f2314075519c5243be3405e8f58153c65013738efe22"
    )


def test_the_130_spellings_of_tsinghua_are_130_breeds(table):
    breeds = {table.canonical("tsinghua", spelling) for spelling in TSINGHUA}

    assert len(TSINGHUA) == 130
    assert breeds == set(table.breeds)
    assert set(table.spellings["tsinghua"]) == set(TSINGHUA)


@pytest.mark.parametrize(
    ("spelling", "breed"),
    [
        ("Shih_Tzu", "Shih-Tzu"),
        ("black_and_tan_coonhound", "black-and-tan coonhound"),
        ("German_short_haired_pointer", "German short-haired pointer"),
        ("Brabancon_griffo", "Brabancon griffon"),
        ("Fila Braziliero", "Fila Brasileiro"),
        ("Cane_Carso", "Cane Corso"),
        ("Japanese_Spitzes", "Japanese spitz"),
        ("Shiba_Dog", "Shiba"),
    ],
)
def test_where_tsinghua_spells_otherwise_it_means_the_same_breed(spelling, breed, table):
    assert table.canonical("tsinghua", spelling) == breed


@pytest.mark.parametrize(
    "spelling",
    ["Shih-Tzu", "flat-coated_retriever", "curly-coated_retriever", "black-and-tan_coonhound"],
)
def test_names_with_hyphens_are_known(spelling, table):
    assert table.canonical("stanford", spelling) is not None


@pytest.mark.parametrize(
    ("source", "curly", "flat"),
    [
        ("stanford", "curly-coated_retriever", "flat-coated_retriever"),
        ("tsinghua", "curly_coated_retriever", "flat_coated_retriever"),
        ("austin", "Retriever, Curly-Coated", "Retriever, Flat-Coated"),
    ],
)
def test_two_retrievers_are_two_breeds(source, curly, flat, table):
    assert table.label(table.canonical(source, curly)) == 55
    assert table.label(table.canonical(source, flat)) == 54


def test_no_source_spells_anything_twice(vocabulary_text, table):
    rows = list(csv.DictReader(vocabulary_text.splitlines()))

    for source, spellings in table.spellings.items():
        cells = [row[source] for row in rows if row[source]]
        assert sum(len(cell.split(" | ")) for cell in cells) == len(spellings)


def test_every_spelling_means_a_breed_or_none_that_is_known(table):
    meant = {breed for spellings in table.spellings.values() for breed in spellings.values()}

    assert meant == {*table.breeds, vocabulary.MIXED}


def test_every_name_of_the_committed_table_names_one_breed_as_a_folder(table):
    for breed in table.breeds:
        assert table.canonical("breeds", breed) == breed
    for spellings in table.spellings.values():
        for spelling, breed in spellings.items():
            known = None if breed == vocabulary.MIXED else breed
            assert table.canonical("breeds", spelling) == known


@pytest.mark.parametrize(
    ("spelling", "breed"),
    [
        ("Retriever, Labrador", "Labrador retriever"),
        ("Retriever, Black Labrador", "Labrador retriever"),
        ("Retriever, Chocolate Labrador", "Labrador retriever"),
        ("Retriever, Yellow Labrador", "Labrador retriever"),
        ("  Shepherd, German ", "German shepherd"),
        ("Chihuahua, Short Coat", "Chihuahua"),
        ("Collie, Border", "Border collie"),
        ("Terrier, Yorkshire, Yorkie", "Yorkshire terrier"),
        ("Mastiff, Cane Corso", "Cane Corso"),
    ],
)
def test_a_shelters_breed_is_that_breed(spelling, breed, table):
    assert table.canonical("austin", spelling) == breed


@pytest.mark.parametrize(
    "spelling",
    [
        "Retriever, Yellow Labrador /Mix",
        "Retriever, Yellow Labrador/Mix",
        "Retriever, Yellow Labrador / MIX ",
        "Terrier, American Pit Bull /mix",
        "Beagle/Shepherd, German",
        "Pyrenees, Great / Retriever, Golden",
        "Chihuahua/Mixed Breed (Small)",
        "Mixed Breed (Large)",
        "Mixed Breed (Medium)",
        "Mixed Breed (Small)",
        "Unknown",
    ],
)
def test_a_shelters_mix_is_not_its_first_parent(spelling, table):
    assert table.canonical("austin", spelling) == vocabulary.MIXED


@pytest.mark.parametrize(
    "spelling",
    [
        "Terrier, American Pit Bull",
        "Dachshund, Miniature Smooth Haired",
        "Cattle Dog, Australian (Blue Heeler)",
        "Spaniel, Cavalier King Charles",
        "Spaniel, American Cocker",
        "Eskimo, American",
        "Shepherd",
        "retriever, golden",
        "Beagle/",
        "",
    ],
)
def test_a_shelters_breed_that_the_table_lacks_is_none(spelling, table):
    assert table.canonical("austin", spelling) is None


@pytest.mark.parametrize("source", ["stanford", "tsinghua"])
def test_only_a_shelter_has_mixes(source, table):
    assert table.canonical(source, "beagle/Mix") is None
    assert table.canonical(source, " beagle") is None


@pytest.mark.parametrize(
    "folder",
    [
        "golden retriever",
        "Golden_Retriever",
        "GOLDEN-RETRIEVER",
        " golden  retriever",
        "Retriever, Golden",
        "retriever,_golden",
    ],
)
def test_a_folder_may_be_named_as_any_source_spells_it(folder, small):
    assert small.canonical("breeds", folder) == "golden retriever"


@pytest.mark.parametrize("folder", ["shih tzu", "Shih_Tzu", "shih-tzu dog"])
def test_a_folder_may_be_named_by_each_of_several_spellings(folder, small):
    assert small.canonical("breeds", folder) == "Shih-Tzu"


@pytest.mark.parametrize("folder", ["goldenretriever", "golden", "retriever", "Unknown", "", "_"])
def test_a_folder_of_another_name_is_no_breed(folder, small):
    assert small.canonical("breeds", folder) is None


def test_a_folder_whose_name_would_mean_two_breeds_is_none():
    table = vocabulary.parse(HEADER + "0,shepherd,a,Sheep_Dog,\n1,sheepdog,b,,Sheep-dog\n")

    assert table.canonical("breeds", "sheep dog") is None
    assert table.canonical("breeds", "sheepdog") == "sheepdog"
    assert table.canonical("tsinghua", "Sheep_Dog") == "shepherd"
    assert table.canonical("austin", "Sheep-dog") == "sheepdog"


def test_the_label_is_the_number_of_the_row(table):
    assert [table.label(breed) for breed in table.breeds] == list(range(130))
    assert table.label("Chihuahua") == 0
    assert table.label("Fila Brasileiro") == 120


@pytest.mark.parametrize("name", [vocabulary.MIXED, "golden_retriever", ""])
def test_what_is_no_breed_has_no_label(name, small):
    assert name not in small.breeds
    with pytest.raises(KeyError):
        small.label(name)


def test_a_table_can_be_sent_to_a_worker_before_and_after_its_use():
    table = vocabulary.parse(SMALL)
    before = pickle.loads(pickle.dumps(table))
    table.label("Shih-Tzu")
    table.canonical("breeds", "shih tzu")
    after = pickle.loads(pickle.dumps(table))

    assert before == after == table
    assert before.label("Shih-Tzu") == after.label("Shih-Tzu") == 1


def test_a_table_does_not_change(small):
    with pytest.raises(dataclasses.FrozenInstanceError):
        small.breeds = []


def test_each_source_has_its_own_spellings(small):
    assert small.canonical("tsinghua", "Shih_Tzu") == "Shih-Tzu"
    assert small.canonical("stanford", "Shih_Tzu") is None
    assert small.canonical("tsinghua", "") is None
    assert small.canonical("nowhere", "Shih-Tzu") is None


def test_a_table_without_an_unlabelled_row_knows_no_mixes_by_name():
    table = vocabulary.parse("label,breed,austin\n0,beagle,Beagle\n")

    assert table.canonical("austin", "Unknown") is None
    assert table.canonical("austin", "Beagle/Mix") == vocabulary.MIXED


def test_a_table_is_read_from_its_file(tmp_path, small):
    path = tmp_path / vocabulary.FILE
    path.write_text(SMALL, encoding="utf-8")

    assert vocabulary.read(str(path)) == small


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0,beagle,beagle,,\n2,husky,husky,,\n", "row 2 has label 2, not 1"),
        ("0,beagle,a,,\n1,beagle,b,,\n", "'beagle' stands twice, in row 1 and in row 2"),
        (
            "0,beagle,a,x,\n1,husky,b,x,\n",
            "row 2 says that tsinghua spells 'husky' as 'x', which is 'beagle' already",
        ),
        (
            "0,beagle,a,,x | y\n1,husky,b,,z\n,mixed / unknown,,,q | y\n",
            "row 3 says that austin spells 'mixed / unknown' as 'y', which is 'beagle' already",
        ),
        (
            "0,beagle,a,,\n,mixed / unknown,,,x\n,mixed / unknown,,,y\n",
            "row 2 has no label; only the last row may have none",
        ),
        (
            ",mixed / unknown,,,x\n0,beagle,a,,\n",
            "row 1 has no label; only the last row may have none",
        ),
        (
            "0,beagle,a,,\n,husky,b,,\n",
            "row 2 has no label, so its breed is 'mixed / unknown', not 'husky'",
        ),
        (
            "0,mixed / unknown,a,,\n",
            "row 1 is 'mixed / unknown', so it has no label, not 0",
        ),
        ("0,beagle,a,,\n1,husky,b\n", "row 2 has not one cell for each column"),
        ("0,beagle,a,,Hound, Basset\n", "row 1 has not one cell for each column"),
    ],
)
def test_a_table_that_contradicts_itself_is_an_error_that_names_the_row(rows, message):
    with pytest.raises(ValueError, match=f"^breeds.csv: {re.escape(message)}$"):
        vocabulary.parse(HEADER + rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("breed,stanford\nbeagle,beagle\n", "no column label; found breed, stanford"),
        ("label,stanford\n0,beagle\n", "no column breed; found label, stanford"),
        ("", "no column label; found nothing"),
    ],
)
def test_a_table_without_its_columns_is_an_error(text, message):
    with pytest.raises(ValueError, match=message):
        vocabulary.parse(text)
