"""What is left out of mitmproxy's work changes nothing but the time it takes."""

from __future__ import annotations

import pytest
from mitmproxy import options

from tollkeeper.proxy.quick import QuickOptions


def test_every_option_has_the_value_that_mitmproxys_own_has() -> None:
    own, quick = options.Options(), QuickOptions()

    assert {name: getattr(quick, name) for name in quick.keys()} == {  # noqa: SIM118
        name: getattr(own, name)
        for name in own.keys()  # noqa: SIM118
    }


def test_changed_option_reads_as_changed_and_lists_are_still_copies() -> None:
    quick = QuickOptions()
    quick.update(rawtcp=False, ignore_hosts=["a"])

    quick.ignore_hosts.append("b")

    assert quick.rawtcp is False
    assert quick.ignore_hosts == ["a"]


def test_unknown_option_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError):
        QuickOptions().no_such_option  # noqa: B018
