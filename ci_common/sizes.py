"""Sizes as administrators write them: `512m`, `2g`, powers of 1024 as Docker has them. Pure."""

_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def size_of(value: object) -> object:
    """The bytes that a text means; what is no text stays as it is, for others to judge.

    Raises:
        ValueError: the text is no size.
    """
    if not isinstance(value, str):
        return value
    text = value.strip().lower().removesuffix("ib").removesuffix("b")
    unit = _UNITS.get(text[-1:], 1)
    try:
        return int(float(text[:-1] if unit > 1 else text) * unit)
    except (ValueError, OverflowError):
        raise ValueError(f"{value!r} is not a size; write for example 512m or 2g") from None
