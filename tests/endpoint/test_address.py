"""An endpoint is read as it is written, and what is missing is told."""

import pytest

from harness.endpoint.address import Endpoint, parse
from harness.errors import HarnessError


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("grpc://127.0.0.1:8001/m", Endpoint("grpc", "127.0.0.1", 8001, "m")),
        ("http://host:80/m:3", Endpoint("http", "host", 80, "m", "3")),
        ("grpcs://[::1]:1/Model_1.x:v0.1", Endpoint("grpcs", "::1", 1, "Model_1.x", "v0.1")),
        ("https://host:443/a%20b/", Endpoint("https", "host", 443, "a b")),
    ],
)
def test_an_address_has_scheme_host_port_model_and_version(text: str, found: Endpoint) -> None:
    assert parse(text) == found


@pytest.mark.parametrize("text", ["grpc://[::1]:8001/m:2", "http://host:80/m"])
def test_an_address_is_written_as_it_was_read(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("localhost:8001/m", "has no scheme"),
        ("grcp://localhost:8001/m", "Did you mean 'grpc'"),
        ("ftp://localhost:8001/m", "has the scheme 'ftp'"),
        ("grpc://localhost/m", "names no port"),
        ("grpc://localhost:0/m", "names no port"),
        ("grpc://localhost:99999/m", "is no address"),
        ("grpc://localhost:eight/m", "is no address"),
        ("grpc://:8001/m", "names no host"),
        ("grpc://localhost:8001", "names no model"),
        ("grpc://localhost:8001/", "names no model"),
        ("grpc://localhost:8001/:1", "names no model"),
        ("grpc://localhost:8001/m:", "has a ':' and no version"),
        ("http://localhost:8000/v2/models/m", "has a path in place of a model"),
        ("http://localhost:8000/m?x=1", "holds more than"),
        ("http://me:secret@localhost:8000/m", "holds more than"),
    ],
)
def test_what_is_wrong_with_an_address_is_told(text: str, fault: str) -> None:
    with pytest.raises(HarnessError, match=fault) as error:
        parse(text)
    assert "secret" not in str(error.value)
    assert "write grpc://" in str(error.value) or "Known:" in str(error.value) or "mean" in str(error.value)
