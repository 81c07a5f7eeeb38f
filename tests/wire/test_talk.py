"""Frames of WebSockets as the events of a stream, and back."""

from __future__ import annotations

from tollkeeper.wire import talk


def test_frame_is_one_event_whatever_line_ends_it_has() -> None:
    assert talk.as_event(b'{"a":\r\n1}') == b'data: {"a":  1}\n\n'


def test_frame_is_the_data_of_an_event() -> None:
    assert talk.as_frame(b'event: error\ndata: {"a":1}\n\n') == b'{"a":1}'
