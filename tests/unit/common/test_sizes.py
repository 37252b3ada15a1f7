"""Sizes as administrators write them."""

import pytest

from ci_common.sizes import size_of


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0),
        ("17", 17),
        ("1k", 1024),
        ("512m", 512 << 20),
        ("2g", 2 << 30),
        ("1.5G", 3 << 29),
        ("8GiB", 8 << 30),
        (" 1TB ", 1 << 40),
    ],
)
def test_a_size_is_read(text: str, size_bytes: int) -> None:
    assert size_of(text) == size_bytes


@pytest.mark.parametrize("text", ["", "g", "12x", "one", "inf", "1 2", "gg", "1gg"])
def test_what_is_no_size_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size"):
        size_of(text)


def test_numbers_stay_for_others_to_judge() -> None:
    assert size_of(5) == 5
