from benchmarks.catalogue import PEERS, ROWS


def test_every_row_has_a_name_of_its_own() -> None:
    names = [row.name for row in (*ROWS, PEERS)]
    assert len(set(names)) == len(names)
