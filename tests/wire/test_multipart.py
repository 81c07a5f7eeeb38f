"""One reading of a form, or a refusal: whatever two servers could understand differently."""

from __future__ import annotations

import email.parser
import email.policy
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tollkeeper.errors import WireError
from tollkeeper.wire.multipart import is_form, read_form, with_text

KIND = "multipart/form-data; boundary=B0"
LISTS = frozenset({"image", "include", "chunking_strategy"})


def field(name: str, value: str, more: str = "") -> str:
    return f'--B0\r\nContent-Disposition: form-data; name="{name}"\r\n{more}\r\n{value}\r\n'


def form(*fields: str, end: str = "--B0--\r\n") -> bytes:
    return ("".join(fields) + end).encode("utf-8")


FILE = '--B0\r\nContent-Disposition: form-data; name="file"; filename="é 1.wav"\r\nContent-Type: audio/wav\r\n\r\nRIFF\r\n'


def test_fields_and_files_are_read_as_they_stand() -> None:
    read = read_form(KIND, form(field("model", "whisper-1"), FILE, field("prompt", "")), LISTS)

    assert read.texts() == {"model": "whisper-1", "prompt": ""}
    [file] = read.files("file")
    assert (file.content, file.kind, file.is_file) == (b"RIFF", "audio/wav", True)
    assert read.names() == ("model", "file", "prompt")


def test_what_may_be_listed_may_stand_more_than_once() -> None:
    body = form(
        field("include[]", "a"),
        field("include[]", "b"),
        field("chunking_strategy[type]", "server_vad"),
        field("chunking_strategy[threshold]", "0.5"),
    )

    assert read_form(KIND, body, LISTS).names() == ("include", "chunking_strategy")


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=B0; boundary=B1",
        "multipart/form-data; charset=utf-7; boundary=B0",
        "multipart/form-data; boundary=B0; charset=utf-8",
        "multipart/form-data, multipart/form-data; boundary=B0",
        "multipart/mixed; boundary=B0",
        'multipart/form-data; boundary="B0\\"x"',
        "multipart/form-data; boundary*=utf-8''B0",
        f"multipart/form-data; boundary={'b' * 71}",
    ],
)
def test_a_content_type_with_anything_but_one_boundary_is_refused(content_type: str) -> None:
    assert is_form(content_type)
    with pytest.raises(WireError, match="one boundary"):
        read_form(content_type, form(field("model", "m")), LISTS)


MODEL = field("model", "cheap")
AMBIGUOUS = {
    "twice": form(MODEL, field("model", "dear")),
    "twice in other letters": form(MODEL, field("Model", "dear")),
    "once plain and once listed": form(field("include", "a"), field("include[]", "b")),
    "a listed one that is one value": form(field("model[]", "dear")),
    "a member of one value": form(MODEL, field("model[0]", "dear")),
    "the same member twice": form(field("chunking_strategy[type]", "a"), field("chunking_strategy[type]", "b")),
    "percent escapes": form(field("mo%64el", "dear")),
    "an extended name": b"--B0\r\nContent-Disposition: form-data; name*=utf-8''model\r\n\r\ndear\r\n--B0--\r\n",
    "two names": b'--B0\r\nContent-Disposition: form-data; name="a"; name="model"\r\n\r\ndear\r\n--B0--\r\n',
    "no quotes": b"--B0\r\nContent-Disposition: form-data; name=model\r\n\r\ndear\r\n--B0--\r\n",
    "no name": b"--B0\r\nContent-Disposition: form-data\r\n\r\ndear\r\n--B0--\r\n",
    "an extended file name": b"--B0\r\nContent-Disposition: form-data; name=\"file\"; filename*=utf-8''x\r\n\r\nd\r\n--B0--\r\n",
    "a folded header": form(field("model", "m", "Content-Type: text/plain\r\n ; x=y\r\n")),
    "a header twice": form(field("model", "m", 'Content-Disposition: form-data; name="n"\r\n')),
    "an unknown header": form(field("model", "m", "X-Name: n\r\n")),
    "an encoding": form(field("model", "bQ==", "Content-Transfer-Encoding: base64\r\n")),
    "another length": form(field("model", "m", "Content-Length: 5\r\n")),
    "a bare line feed in a header": form(field("model", "m", "Content-Type: a\nContent-Type: b\r\n")),
    "a preamble": b"hello\r\n" + form(MODEL),
    "an epilogue": form(MODEL, end="--B0--\r\nmore"),
    "no end": form(MODEL, end=""),
    "bare line feeds": form(MODEL).replace(b"\r\n", b"\n"),
    "a boundary after a bare line feed": form(field("prompt", 'a\n--B0\nContent-Disposition: form-data; name="n"\n\n9')),
    "a longer boundary": form(field("prompt", "a\r\n--B0x")),
    "space after a boundary": form(MODEL).replace(b"--B0\r\n", b"--B0 \r\n"),
    "no header": b"--B0\r\n\r\ndear\r\n--B0--\r\n",
    "a huge header": form(field("model", "m", f"Content-Type: {'a' * 3000}\r\n")),
    "too many fields": form(*(field(f"f{i}", "x") for i in range(70))),
    "no form at all": b"{}",
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("body", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
def test_what_could_be_read_in_two_ways_is_refused(body: bytes) -> None:
    with pytest.raises(WireError):
        read_form(KIND, body, LISTS)


def test_a_text_field_is_neither_a_file_nor_without_bounds() -> None:
    body = form(FILE.replace('"file"', '"model"'), field("prompt", "x" * 300_000))
    read = read_form(KIND, body, LISTS)

    assert [part.is_file for part in read.parts] == [True, False]
    with pytest.raises(WireError, match="prompt has more"):
        read.texts()


def test_setting_a_field_leaves_every_other_byte() -> None:
    body = form(FILE, MODEL, field("prompt", "cheap"))

    changed = with_text(KIND, body, "model", "dearer", LISTS)

    assert changed == body.replace(b"\r\n\r\ncheap\r\n", b"\r\n\r\ndearer\r\n", 1)
    assert read_form(KIND, changed, LISTS).texts() == {"model": "dearer", "prompt": "cheap"}
    with pytest.raises(WireError, match="no field seed"):
        with_text(KIND, body, "seed", "1", LISTS)


@given(st.binary(max_size=80), st.lists(st.binary(max_size=30), max_size=4))
def test_what_is_read_is_what_another_reader_makes_of_it(
    noise: bytes, contents: list[bytes]
) -> None:
    parts = [
        b'--B0\r\nContent-Disposition: form-data; name="f%d"; filename="x"\r\n\r\n%b\r\n' % pair
        for pair in enumerate(contents)
    ]
    for body in (b"".join(parts) + b"--B0--\r\n", b"".join(parts) + noise + b"--B0--\r\n"):
        with suppress(WireError):
            read = read_form(KIND, body, LISTS)
            head = f"Content-Type: {KIND}\r\n\r\n".encode()
            parser = email.parser.BytesParser(policy=email.policy.HTTP)
            other = [
                (
                    part.get_param("name", header="content-disposition"),
                    part.get_payload(decode=True),
                )
                for part in parser.parsebytes(head + body).iter_parts()
            ]
            assert [part.name for part in read.parts] == [name for name, _ in other]
