from components.filtered_retrieval import columns


def test_breeds_as_a_table():
    named = [[b"Pug", b"Beagle"], [b"Boxer", b"Pug"]]

    table = columns(named)

    assert table.tolist() == [[True, False, True], [False, True, True]]  # Beagle, Boxer, Pug
