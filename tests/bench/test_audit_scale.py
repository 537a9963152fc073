"""The benchmark that measures an audit's costs and computes what millions of pictures would take."""

import pytest

from saywhy import SaywhyError
from saywhy.bench import audit_scale, run_benchmark


def test_what_is_computed_follows_from_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_scale, "PARTS", 20)
    monkeypatch.setattr(audit_scale, "LISTED", 300)
    report = run_benchmark("audit-scale", 4, chunk="1000", core_price="2", gigabyte_price="1")
    document = report.document()
    costs, sizes = document["costs"], document["bytes"]
    assert all(ms > 0 for what, ms in costs.items() if what != "rest of its rows")
    assert sizes["pictures"] > 256 * 2 + 16 * 16 * 3 / 2  # a map and a small look are in every row
    (title, columns, rows) = report.more[-1]
    assert columns == ("what", "1,200,000", "1,000,000,000")
    found = {row["what"]: (row["1,200,000"], row["1,000,000,000"]) for row in rows}
    assert found["parts"] == (1200, 1_000_000)
    hours = found["CPU core hours"]
    assert hours[1] / hours[0] == pytest.approx(1e9 / 1.2e6)
    assert found["money, on CPUs"][0] == pytest.approx(2 * hours[0])
    assert found["tables, money a month"] == found["tables, GB"]
    assert "core-price 2" in title


@pytest.mark.parametrize("value", ["much", "0", "-1", "nan"])
def test_prices_that_are_none(value: str) -> None:
    with pytest.raises(SaywhyError, match="core-price"):
        run_benchmark("audit-scale", 4, core_price=value)
