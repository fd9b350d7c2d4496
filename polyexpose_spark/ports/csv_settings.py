"""What a contract and a profile may say about port csv."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from polyexpose_spark.config import Location
from polyexpose_spark.ports import csv_text
from polyexpose_spark.ports.base import PortAddresses, PortSettings

_TARGET_BYTES = 256 << 20
_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30}


def _bytes(value: Any) -> Any:
    """Read `256MiB`; anything else is left to the type's own check."""
    found = re.fullmatch(r"(\d+) ?([KMG]i)?B?", value.strip(), re.I) if isinstance(value, str) else None
    if isinstance(value, str) and not found:
        raise ValueError(f"{value!r} is not a size; allowed: bytes, or a number with KiB, MiB or GiB (256MiB)")
    return int(found[1]) * _UNITS[f"{found[2] or ''}B".upper()] if found else value


Bytes = Annotated[
    int,
    BeforeValidator(_bytes),
    WithJsonSchema(
        {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "pattern": "^[0-9]+ ?([KMG]iB|B)?$"}]}
    ),
]


class CsvSettings(PortSettings):
    """What a contract may say about the csv port."""

    header: bool = True
    """Each file begins with a line of column names."""
    delimiter: str = ","
    """One character between cells."""
    quote_all: bool = False
    """Quotes around every cell that is not NULL, not only where they are needed."""
    null_marker: str | None = None
    """Text that stands for NULL, never in quotes (for example \\N); none: NULL is empty, "" is two quotes."""
    compression: Literal["none", "gzip", "zstd"] = "none"
    """Of each file. The Frictionless tools read gzip, and refuse zstd."""
    single_file: bool = False
    """One file instead of one per part."""
    target_bytes_per_file: Bytes | None = Field(default=None, ge=1 << 20)
    """Size that files do not exceed by more than one record, before compression; none: 256MiB. At least 1MiB."""
    nested: Literal["json", "reject"] = "json"
    """Structs, lists and maps as JSON text; or a product that has any is refused."""

    @model_validator(mode="before")
    @classmethod
    def _known_later(cls, data: Any) -> Any:
        later = ("sort", "partitionBy", "lineSeparator", "bom", "flatten")
        for key in later:
            if isinstance(data, Mapping) and key in data:
                raise ValueError(f"`{key}` is not built yet; leave it out")
        return data

    @field_validator("delimiter")
    @classmethod
    def _separates(cls, value: str) -> str:
        if len(value) != 1 or value in '"\r\n\0\ufeff' or value in csv_text.IN_UNQUOTED_CELLS:
            raise ValueError(
                f"{value!r} is not allowed; allowed: one character that is no quote, no line end and no part of "
                "a number, a date or base64 (for example , ; | or a tab)"
            )
        return value

    @field_validator("null_marker")
    @classmethod
    def _marks(cls, value: str | None) -> str | None:
        if value == "" or any(each in (value or "") for each in '"\r\n'):
            raise ValueError(f"{value!r} is not allowed; allowed: a text without quotes and line ends, not empty")
        return value

    @model_validator(mode="after")
    def _together(self) -> CsvSettings:
        if self.single_file and self.target_bytes_per_file is not None:
            raise ValueError("`singleFile` and `targetBytesPerFile` exclude each other; keep one")
        if self.null_marker and self.delimiter in self.null_marker:
            raise ValueError(f"`nullMarker` {self.null_marker!r} must not contain the `delimiter` {self.delimiter!r}")
        return self

    @property
    def dialect(self) -> csv_text.Dialect:
        """How cells are written."""
        return csv_text.Dialect(self.delimiter, self.null_marker or "", self.quote_all)

    @property
    def target_bytes(self) -> int:
        """The size that files are made for."""
        return self.target_bytes_per_file or _TARGET_BYTES

    @property
    def split_bytes(self) -> int:
        """Bytes of data files that one task reads: text is larger than Parquet, and small tasks balance well."""
        return max(self.target_bytes // 32, 1 << 20)


class CsvAddresses(PortAddresses):
    """Block `ports.csv` of a profile."""

    root: Location | None = None
    """Folder of all exposures: a product goes to `<root>/<server>/<product id>`; none: the contract's location."""


def shown(size: int) -> str:
    """Return a size in the largest unit that divides it: `256 MiB`."""
    unit = next((name for name in ("GiB", "MiB", "KiB") if size % _UNITS[name.upper()] == 0), "B")
    return f"{size // _UNITS[unit.upper()]} {unit}"
