"""Readability and drift of simulated expressions, through the measurement's own command line on tiny data."""

import re
from pathlib import Path

import pytest

from experiments.cli import DONE
from experiments.cli import main as fer_id
from experiments.measure.simulated_expression import main
from fer_id.errors import ConfigError
from fer_id.labels import TARGET
from tests.experiments.messages import Capture, Tiny


@pytest.mark.slow
def test_every_class_is_read_at_every_intensity(
    stores: dict[str, list[Path]], stills_store: Path, tiny: Tiny, tmp_path: Path, capsys: Capture
) -> None:
    """At rest a frame is the child's own still; whatever is read, a share is a share."""
    (store,) = stores["simulated"]
    assert fer_id(tiny(store, tmp_path, "data=simulated", "protocol=official", "name=tiny/run")) == DONE
    capsys.readouterr()
    assert main([f"run={tmp_path}/tiny/run", f"store={store}", f"source={stills_store}", "levels=[0,1]"]) == 0
    printed = capsys.readouterr().out
    for name in TARGET.names:
        shares = re.search(rf"^{name} .*$", printed, re.MULTILINE)
        assert shares
        assert all(0 <= float(share) <= 1 for share in shares.group().split()[1:])
    assert re.search(r"crop +e=0 +1\.000  0\.000", printed)
    with pytest.raises(ConfigError, match="was simulated from another store"):
        main([f"run={tmp_path}/tiny/run", f"store={store}", f"source={store}"])
