"""The page over TLS, with a certificate made here."""

import shutil
import socket
import ssl

import pytest

from pyramidflow.errors import InputError
from tests.service.raw import address_of, exchange
from tests.service.served import TOKEN, configuration, picture, served
from tests.support.command_line import assert_one_sentence

import httpx  # isort: skip

trustme = pytest.importorskip("trustme", reason="needs trustme, of the extra test")


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def files(authority, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    made = authority.issue_cert("127.0.0.1", "localhost")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    made.cert_chain_pems[0].write_to_path(certificate)
    made.private_key_pem.write_to_path(key)
    return {"certificate": certificate, "certificate_key": key}


@pytest.fixture
def trusting(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="module")
def secure(files, detector_file, tmp_path_factory):
    with served(configuration(tmp_path_factory.mktemp("line"), detector_file), **files) as found:
        yield found


def test_the_page_is_https_and_stays_so(secure, trusting):
    assert secure.url.startswith("https://127.0.0.1:")
    with httpx.Client(base_url=secure.url, verify=trusting) as client:
        answer = client.get("/")
        assert answer.status_code == 200
        assert answer.headers["strict-transport-security"].startswith("max-age=31536000")
        bearer = {"Authorization": f"Bearer {TOKEN}"}
        assert client.post("/inspect", content=picture(), headers=bearer).status_code == 200
        signed = client.post("/api/session", json={"token": TOKEN}, headers={"Origin": secure.url})
        assert signed.status_code == 204
        assert "secure" in signed.headers["set-cookie"].lower().split("; ")


def test_without_tls_nothing_is_answered(secure):
    said = exchange(secure.url, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", seconds=3)
    assert b"HTTP" not in said


def test_a_certificate_that_nobody_trusts_is_refused_by_the_client(secure):
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(secure.url)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1")
def test_old_tls_is_not_spoken(secure, trusting):
    trusting.minimum_version = ssl.TLSVersion.TLSv1
    trusting.maximum_version = ssl.TLSVersion.TLSv1_1
    trusting.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(httpx.ConnectError):
        httpx.get(secure.url, verify=trusting)


def test_tls_1_2_has_forward_secrecy(secure, trusting):
    trusting.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection(address_of(secure.url)) as wire,
        trusting.wrap_socket(wire, server_hostname="127.0.0.1") as wrapped,
    ):
        name, version, _ = wrapped.cipher()
    assert version == "TLSv1.2"
    assert name.startswith("ECDHE-")
    assert "GCM" in name or "CHACHA20" in name


def test_no_hsts_without_tls(shared):
    assert "strict-transport-security" not in shared.client.get("/").headers


def test_a_key_that_does_not_belong_is_a_sentence(files, authority, detector_file, tmp_path):
    other = tmp_path / "other.pem"
    authority.issue_cert("127.0.0.1").private_key_pem.write_to_path(other)
    for key in (other, tmp_path / "missing.pem", files["certificate"]):
        given = {**files, "certificate_key": key}
        with (
            pytest.raises(InputError, match=r"certificate .* cannot be used"),
            served(configuration(tmp_path, detector_file), **given),
        ):
            pass


def test_a_certificate_without_its_key_is_refused(run, tmp_path, detector_file, files):
    detector = tmp_path / "part.safetensors"
    shutil.copy(detector_file, detector)
    code, _, err = run("serve", detector, "--certificate", files["certificate"])
    assert_one_sentence(code, err, "give both")
