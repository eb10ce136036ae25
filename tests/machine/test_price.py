"""What machines cost: lists of prices, and what work costs at them."""

from pathlib import Path

import pytest

from harness.errors import DataError
from harness.machine import price
from harness.machine.price import Price

TOML = """
[amd-epyc-9b14-2c]
currency = "EUR"
price_per_hour = 0.36

[intel-xeon-4c]
price_per_hour = 1
currency = "EUR"
"""
CSV = "kind, currency, price_per_hour\namd-epyc-9b14-2c, EUR, 0.36\nintel-xeon-4c, EUR, 1\n"
WANTED = {"amd-epyc-9b14-2c": Price(0.36, "EUR"), "intel-xeon-4c": Price(1.0, "EUR")}


def test_a_million_costs_the_hours_that_it_takes() -> None:
    assert Price(3.6, "EUR").of_million(100) == pytest.approx(10.0)
    facts = Price(3.6, "EUR").facts(None)
    assert facts == {"price_per_hour": 3.6, "currency": "EUR", "price_per_million_samples": None}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("prices.toml", TOML),
        ("prices.csv", CSV),
        ("PRICES.CSV", "\ufeff" + CSV.replace("\n", "\r\n")),
        ("prices.csv", "price_per_hour,kind,currency\n0.36,amd-epyc-9b14-2c,EUR\n\n1e0,intel-xeon-4c,EUR\n"),
    ],
)
def test_prices_are_read_from_toml_and_csv(name: str, text: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    assert price.read(path) == WANTED


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.toml", "", "it has no kind of machine"),
        ("a.csv", "", "its first line must be kind,currency,price_per_hour"),
        ("a.csv", "kind,currency,price_per_hour\n", "it has no kind of machine"),
        ("a.csv", "kind,price\nx,1\n", "its first line must be"),
        ("a.csv", CSV + "x, EUR\n", "line 4 has not 3 columns"),
        ("a.csv", CSV + "x, EUR, 1, 2\n", "line 4 has not 3 columns"),
        ("a.csv", CSV + "x, EUR, cheap\n", "'cheap', is no number"),
        ("a.csv", CSV + "x, EUR, nan\n", "is no number above 0"),
        ("a.csv", CSV + "x, EUR, 0\n", "is no number above 0"),
        ("a.csv", CSV + "x, , 1\n", "currency of 'x' is no text"),
        ("a.csv", CSV + ", EUR, 1\n", "'' must have currency"),
        ("a.csv", CSV + "intel-xeon-4c, EUR, 2\n", "'intel-xeon-4c' is there twice"),
        ("a.csv", CSV + "x, USD, 2\n", "prices in EUR and USD"),
        ("a.toml", TOML + "price = 1\n", "and nothing else"),
        ("a.toml", "x = 1", "'x' must have currency and price_per_hour"),
        ("a.toml", TOML.replace("0.36", "inf"), "is no number above 0"),
        ("a.toml", TOML.replace("0.36", "true"), "is no number above 0"),
        ("a.toml", TOML.replace('"EUR"', "1"), "is no text"),
        ("a.toml", "[[", "Invalid"),
    ],
)
def test_a_list_of_prices_that_is_wrong_says_where(name: str, text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError) as caught:
        price.read(path)
    assert told in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_list_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Cannot use --prices .*none\.toml"):
        price.read(tmp_path / "none.toml")
