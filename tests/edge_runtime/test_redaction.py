"""No secret leaves the process, whatever its characters and whoever echoes it."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_runtime import redaction
from edge_runtime.errors import InputError
from edge_runtime.redaction import MASK, RedactingFilter, expand_secrets, read_secret, redact, remember, remember_url

# one of each character that breaks a naive URL parser
NASTY = "p@ss/w0rd:50%21!"


@pytest.fixture(autouse=True)
def _forget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", ())


@pytest.mark.parametrize(
    "text",
    [
        f"opening rtsp://admin:{NASTY}@10.0.0.5:554/live",
        f"Did you mean file:rtsp://admin:{NASTY}@10.0.0.5/live",
        f"error: file:/admin:{NASTY}@10.0.0.5 not found",
        f"OpenCV: can't open 'rtsp://admin:{NASTY}@cam/live?x=1'",
        f"mqtts://user:{NASTY}@broker and http://other:{NASTY}@host/x",
        f"https://hook.example/x?token={quote(NASTY, safe='')}&id=7",
        f"Authorization: Bearer {NASTY}",
        f'{{"password": "{NASTY}"}}',
        f"EDGE_SERVE_TOKEN={NASTY}",
        f"api-key: {NASTY}",
    ],
)
def test_a_secret_is_known_by_its_surroundings(text: str) -> None:
    """Shows that a credential nobody announced is masked by the shape of the text around it."""
    clean = redact(text)
    assert MASK in clean
    for piece in ("p@ss", "w0rd", "50%21", quote(NASTY, safe="")):
        assert piece not in clean


@pytest.mark.parametrize(
    "echo",
    [
        f"login failed for {NASTY}",
        f"login failed for {quote(NASTY, safe='')}",
        "login failed for p@ss/w0rd:50!!",
        "cannot resolve host 'w0rd'",
    ],
)
def test_a_remembered_secret_is_masked_in_any_form(echo: str) -> None:
    """Shows that a third party's echo is caught: verbatim, encoded, decoded, or one fragment of it."""
    remember_url(f"rtsp://admin:{NASTY}@cam/live")
    assert MASK in redact(echo)
    assert "w0rd" not in redact(echo)


@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=1))
def test_no_password_survives_in_a_url(password: str) -> None:
    """Shows that the user part of a URL is masked whatever printable characters the password is made of."""
    url = f"rtsp://admin:{quote(password, safe='@/:')}@cam.local/live"
    assert redact(f"lost {url} again") == f"lost rtsp://{MASK}@cam.local/live again"


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://10.0.0.5:554/live",
        "12.5 ms at 30 FPS, 3 drops",
        "mail me@example.org",
        "the token ring",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text) == text


def test_log_records_are_clean_with_arguments_and_traceback() -> None:
    """Shows that the filter covers message, arguments and exception text, also of a library's logger."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(RedactingFilter())
    logger = logging.getLogger("some.library")
    logger.addHandler(handler)
    try:
        try:
            raise OSError(f"refused rtsp://admin:{NASTY}@cam/")
        except OSError:
            logger.exception("while opening %s", f"rtsp://admin:{NASTY}@cam/")
    finally:
        logger.removeHandler(handler)
    assert "OSError: refused rtsp://***@cam/" in stream.getvalue()
    assert "w0rd" not in stream.getvalue()


def test_an_exception_that_nobody_catches_is_printed_clean() -> None:
    """Shows that neither the main thread's nor another thread's last words hold a secret."""
    program = f"""
import logging, threading
from edge_runtime import redaction
logging.basicConfig()
redaction.install()
def fail(): raise OSError("refused rtsp://admin:{NASTY}@cam/")
thread = threading.Thread(target=fail); thread.start(); thread.join()
fail()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.count("OSError: refused rtsp://***@cam/") == 2
    # the source line of the traceback is not there either, because the program came by -c
    assert "w0rd" not in done.stderr


def test_secrets_come_from_environment_file_or_systemd(tmp_path: Path) -> None:
    (tmp_path / "EDGE_TOKEN").write_text("from-file\n")
    assert read_secret("EDGE_TOKEN", {"EDGE_TOKEN": "from-env"}) == "from-env"
    assert read_secret("EDGE_TOKEN", {"EDGE_TOKEN_FILE": str(tmp_path / "EDGE_TOKEN")}) == "from-file"
    assert read_secret("EDGE_TOKEN", {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "from-file"
    assert read_secret("EDGE_TOKEN", {}) is None
    assert redact("from-env, from-file") == f"{MASK}, {MASK}"


def test_an_unreadable_or_empty_secret_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"secret T: cannot read file .*missing: No such file"):
        read_secret("T", {"T_FILE": str(tmp_path / "missing")})
    with pytest.raises(InputError, match="environment variable T is empty"):
        read_secret("T", {"T": ""})


def test_a_placeholder_in_a_url_is_filled_and_encoded() -> None:
    """Shows that a URL on the command line need not hold the password, and that its odd characters are encoded."""
    url = expand_secrets("rtsp://me:${CAM}@host/live", {"CAM": NASTY})
    assert url == f"rtsp://me:{quote(NASTY, safe='')}@host/live"
    assert redact(f"got {NASTY}") == f"got {MASK}"
    with pytest.raises(InputError, match="CAM is not set"):
        expand_secrets("rtsp://me:${CAM}@host/live", {})


def test_the_empty_string_masks_nothing() -> None:
    remember("")
    assert redact("hello") == "hello"
