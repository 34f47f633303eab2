"""Tidy tables as pandas data frames and as Parquet, read back by these libraries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from toys import NONE, as_rows, result

from sat_core.arm_results import ArmResults
from sat_core.run_folder import RunFolder
from sat_evaluation.results import tidy
from sat_evaluation.results.table_files import to_pandas, write_table
from sat_evaluation.run.study_results import StudyResults

pytestmark = pytest.mark.interop

ARMS = [NONE, result(500, 0.8, kind="classes", units=2, chosen=(0, 1), per_class=(0.25, None, 0.5, 1.0))]


def test_parquet_has_the_values_and_their_types(tmp_path: Path) -> None:
    rows, folder = as_rows(ARMS), RunFolder(tmp_path)
    for what in ("arms", "classes", "checks"):
        write_table(tmp_path / "table.parquet", tidy.table(what, rows, folder))
        read = pd.read_parquet(tmp_path / "table.parquet", dtype_backend="numpy_nullable")
        made = to_pandas(tidy.table(what, rows, folder))
        assert {*read.arm} == {"hardest-0-0", "hardest-500-0"}
        pd.testing.assert_frame_equal(read, made, check_dtype=what != "arms")
        if what == "classes":
            robust = read[read.arm == "hardest-500-0"].robust.to_numpy(float, na_value=np.nan)
            np.testing.assert_array_equal(robust, [0.25, np.nan, 0.5, 1.0])
            assert read.in_A.tolist()[4:] == [True, True, False, False]
            assert str(read.in_A.dtype) == "boolean"
    assert [path.name for path in tmp_path.iterdir()] == ["table.parquet"]


def test_an_interrupted_table_leaves_no_file(tmp_path: Path) -> None:
    def parts():
        yield {"arm": ["a"]}
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_table(tmp_path / "table.parquet", tidy.Tidy({"arm": str}, parts()))
    assert not list(tmp_path.iterdir())


def test_results_become_data_frames(tmp_path: Path) -> None:
    results = StudyResults(tuple(ArmResults.from_json(content) for content in ARMS), RunFolder(tmp_path))
    frame = results.to_pandas()
    assert frame.robust_all.tolist() == [0.43, 0.8]
    assert frame["size"].tolist() == [0, 500]
    classes = results.to_pandas("classes").merge(frame[["arm", "cost"]], on="arm")
    assert len(classes) == 8
    assert classes.cost.iloc[-1] == pytest.approx(0.5625)
