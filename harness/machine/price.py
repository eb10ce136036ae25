"""What a machine costs an hour, and what work on it costs."""

import csv
import io
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import DataError

_CURRENCY, _AMOUNT = "currency", "price_per_hour"
_COLUMNS = ("kind", _CURRENCY, _AMOUNT)


@dataclass(frozen=True)
class Price:
    """What a machine costs."""

    per_hour: float
    currency: str

    def of_million(self, per_second: float) -> float:
        """Return what a million of something costs, of which the machine does so many a second."""
        return 1e6 / per_second / 3600 * self.per_hour

    def facts(self, samples_per_second: float | None) -> dict[str, Any]:
        """Return the price, and that of a million samples at this score, None without one."""
        return {
            _AMOUNT: self.per_hour,
            _CURRENCY: self.currency,
            "price_per_million_samples": self.of_million(samples_per_second) if samples_per_second else None,
        }


Prices = Mapping[str, Price]
"""By the kind of the machine, as `system.slug` names it."""


def read(path: Path) -> Prices:
    """Read the prices of kinds of machines, all in one currency.

    Args:
        path: TOML with a table for each kind, that has `currency` and `price_per_hour`; or with the ending
            .csv, the columns `kind`, `currency` and `price_per_hour`.

    Raises:
        DataError: it cannot be read, a row is not complete, or the currencies differ.
    """
    found: dict[str, Price] = {}
    try:
        text = path.read_text(encoding="utf-8-sig")
        for kind, values in _of_csv(text) if path.suffix.lower() == ".csv" else _of_toml(text):
            if kind in found:
                raise ValueError(f"'{kind}' is there twice")
            found[kind] = _price(kind, values)
        if not found:
            raise ValueError("it has no kind of machine")
        currencies = sorted({price.currency for price in found.values()})
        if len(currencies) > 1:
            raise ValueError(f"it has prices in {' and '.join(currencies)}, which no table can compare")
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(
            f"Cannot use --prices {path} ({error}): write for each kind of machine its {_CURRENCY} and its "
            f"{_AMOUNT}."
        ) from error
    return found


def _of_toml(text: str) -> Iterator[tuple[str, Any]]:
    yield from tomllib.loads(text).items()


def _of_csv(text: str) -> Iterator[tuple[str, Any]]:
    rows = csv.DictReader(io.StringIO(text), skipinitialspace=True)
    names = [name.strip() for name in rows.fieldnames or ()]
    if sorted(names) != sorted(_COLUMNS):
        raise ValueError(f"its first line must be {','.join(_COLUMNS)}")
    rows.fieldnames = names
    for row in rows:
        if None in row or None in row.values():
            raise ValueError(f"line {rows.line_num} has not {len(_COLUMNS)} columns")
        values = {name: value.strip() for name, value in row.items()}
        yield values.pop("kind"), values


def _price(kind: str, values: Any) -> Price:
    if not kind or not isinstance(values, dict) or values.keys() != {_CURRENCY, _AMOUNT}:
        raise ValueError(f"'{kind}' must have {_CURRENCY} and {_AMOUNT}, and nothing else")
    currency, amount = values[_CURRENCY], values[_AMOUNT]
    if not isinstance(currency, str) or not currency.strip():
        raise ValueError(f"the {_CURRENCY} of '{kind}' is no text")
    if isinstance(amount, str):
        try:
            amount = float(amount)
        except ValueError:
            raise ValueError(f"the {_AMOUNT} of '{kind}', {amount!r}, is no number") from None
    if isinstance(amount, bool) or not isinstance(amount, (int, float)) or not 0 < amount < math.inf:
        raise ValueError(f"the {_AMOUNT} of '{kind}' is no number above 0")
    return Price(float(amount), currency.strip())
