"""The table of docs/models.md is what becomes of each network."""

from __future__ import annotations

import pytest
from model_table import BEGIN, END, NONE, PAGE, ROWS, Row, cell, outcome, table

from sat_core.backend import Backend

pytestmark = [pytest.mark.interop, pytest.mark.backend]

TABLE = table(PAGE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_network_works_or_is_refused_as_the_page_says(backend: Backend, row: Row) -> None:
    expected = TABLE[row.name][0 if backend.name == "torch" else 1]
    assert cell(outcome(backend, row)) == expected


def test_the_page_has_all_of_them_and_refuses_in_one_line() -> None:
    assert [*TABLE] == [row.name for row in ROWS]
    assert len(TABLE) >= 25
    outcomes = {one for both in TABLE.values() for one in both}
    assert all(one == NONE or one.startswith(("works", "refused: model")) for one in outcomes)
    assert table(f"{BEGIN}\n| a | b | c |\n|---|---|---|\n| `x:y` | works | - |\n{END}") == {"x:y": ("works", "-")}
