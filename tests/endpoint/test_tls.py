"""TLS by gRPC and HTTP: a certificate is trusted if --ca says so, and what is wrong with it is told."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from endpoint.serving_process import Running, serving
from harness.endpoint import meeting
from harness.errors import HarnessError

SCHEMES = ("grpcs", "https")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl, which makes a certificate")
    folder = tmp_path_factory.mktemp("tls")
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    words += [
        "-subj",
        "/CN=localhost",
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        "key.pem",
        "-out",
        "certificate.pem",
    ]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    return folder / "certificate.pem"


@pytest.fixture(scope="module")
def server(certificate: Path, exported_oracle: Path) -> Iterator[Running]:
    with serving(exported_oracle, tls=str(certificate.parent)) as running:
        yield running


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_server_with_a_trusted_certificate_is_met(scheme: str, server: Running, certificate: Path) -> None:
    assert meeting.meet(server.endpoint(scheme, ca=certificate)).server.name == "test server"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_certificate_that_nobody_vouches_for_is_refused(scheme: str, server: Running) -> None:
    with pytest.raises(HarnessError, match=r"(?i)certificate.verify.failed.*certificates by --ca"):
        meeting.meet(server.endpoint(scheme, ready_timeout_s=0.0))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_without_tls_the_way_with_it_is_told(scheme: str, server: Running, certificate: Path) -> None:
    plain = scheme[:-1]
    with pytest.raises(HarnessError, match=f"TLS by {scheme}://"):
        meeting.meet(server.endpoint(plain, ready_timeout_s=0.0, deadline_s=2.0))
    with pytest.raises(HarnessError, match=f"--ca is for TLS: write {scheme}://"):
        meeting.meet(server.endpoint(plain, ca=certificate))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_file_without_certificates_is_told(scheme: str, server: Running, certificate: Path) -> None:
    for path in (certificate.with_name("key.pem"), certificate.with_name("none.pem")):
        with pytest.raises(HarnessError, match=r"Cannot use --ca .*give certificates in PEM"):
            meeting.meet(server.endpoint(scheme, ca=path))
