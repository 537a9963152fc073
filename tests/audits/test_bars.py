"""Progress of an audit in Python."""

import pytest

from saywhy.audits import bars


def test_where_standard_error_is_no_terminal_lines_say_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bars, "EVERY", 0.0)
    with bars.seen_bar("describing", 20) as advance:
        advance(5)
    with bars.seen_bar("trying", None) as advance:
        advance(3)
    out, told = capsys.readouterr()
    assert not out
    assert told.splitlines()[0].startswith("describing: 5 of 20, about ")
    assert told.splitlines()[1] == "trying: 3"


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with bars.seen_bar("describing", 20) as advance:
        advance(20)
    assert capsys.readouterr() == ("", "")
