"""Control of the subgroup tests, through its own command line on tiny data."""

from pathlib import Path

import pytest
from scipy import stats

from experiments.cli import DONE
from experiments.cli import main as fer_id
from experiments.measure.planted_gaps import ANY, main
from fer_id.errors import RunError
from fer_id.files import read_json
from tests.experiments.messages import Capture, Tiny


@pytest.mark.slow
def test_every_cohort_is_counted_with_a_gap_and_without(
    stores: dict[str, list[Path]], stills_store: Path, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    (store,) = stores["simulated"]
    arguments = tiny(store, tmp_path, "data=simulated", "protocol=official", "name=tiny/run")
    assert fer_id(arguments) == DONE
    run = tmp_path / "tiny" / "run"
    assert main([f"run={run}", f"source={stills_store}", "draws=2", "policy=demonstration"]) == 0
    results = read_json(run / "planted.json", RunError)
    assert results["provenance"] == "simulated"
    for name in ("planted", "neutral"):
        claimed = results[name]["claimed"]
        assert {"severity", "gender", "age_group", "context", ANY} >= set(claimed) >= {ANY}
        for share in (*claimed.values(), results[name]["refused"]):
            exact = stats.binomtest(round(share["share"] * 2), 2).proportion_ci(0.95)
            assert (share["low"], share["high"]) == pytest.approx((exact.low, exact.high))
        assert claimed[ANY]["share"] >= max(share["share"] for share in claimed.values())
    assert "2 simulated cohorts each" in capsys.readouterr().out
