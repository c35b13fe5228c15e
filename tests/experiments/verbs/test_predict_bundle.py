"""``fer-id predict bundle=``: signature, answers, and refusal for the groups that the release excludes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.cli import DONE, USERS_FAULT, main
from fer_id.labels import TARGET
from fer_id.preprocessing.alignment import crop_geometry
from tests.experiments.messages import Capture

bundles = pytest.importorskip("fer_id.release.bundle")

pytestmark = pytest.mark.usefixtures("remembered_faces")

Bundle = Callable[..., Path]
Predict = Callable[..., int]


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    """``bundle(threshold=0.3, unfit=[...])``: a signed bundle with a tiny model of random weights."""

    def make(
        *,
        threshold: float | None = 0.0,
        unfit: list[dict[str, str]] | None = None,
        kind: str = "demonstration",
        **inputs: Any,
    ) -> Path:
        from dataclasses import asdict

        from safetensors.torch import save

        from fer_id.models.build import ModelConfig, build_model
        from fer_id.release.signing import Signer

        config = ModelConfig(name="tiny", encoder="conv4", widths=[4, 4, 8, 8], convs=[1, 1, 1, 1], hidden=8)
        contract = {
            "version": bundles.VERSION,
            "kind": kind,
            "provenance": "synthetic",
            "labels": {"space": TARGET.name, "names": list(TARGET.names)},
            "temperature": 2.0,
            "review": {"risk": 0.2, "threshold": threshold},
            "not_for_use_with": unfit or [],
            "model": asdict(config),
            "input": {"frames": 6, "fps": 5.0, "geometry": crop_geometry(aligned=True, colour="rgb"), **inputs},
        }
        files = dict.fromkeys(bundles.CONTENT, b"-")
        files[bundles.WEIGHTS] = save(build_model(config, len(TARGET)).state_dict())
        files[bundles.CONTRACT] = json.dumps(contract).encode()
        signer = Signer.load(tmp_path / "signer", create=True)
        bundles.write_bundle(tmp_path / "bundle", files, signer, kind=kind, name="study/one")
        return tmp_path / "bundle"

    return make


@pytest.fixture
def predict(drawn_site: Path, tmp_path: Path, landmark_model: str) -> Predict:
    def run(*more: str) -> int:
        video = drawn_site / "videos" / "drawn7-001-sad.mp4"
        return main(["predict", str(video), f"out={tmp_path / 'out'}", f"face_landmarker={landmark_model}", *more])

    return run


def test_a_bundle_answers_with_its_own_temperature_and_threshold(
    bundle: Bundle, predict: Predict, tmp_path: Path, capsys: Capture
) -> None:
    assert predict(f"bundle={bundle()}") == DONE
    output = capsys.readouterr().out
    assert "study/one" in output
    assert "is a demonstration" in output
    record = json.loads((tmp_path / "out" / "prediction.json").read_text())
    assert (record["temperature"], record["threshold"], record["provenance"]) == (2.0, 0.0, "synthetic")
    assert any("integrity, not origin" in note for note in record["notes"])
    assert set(pd.read_csv(tmp_path / "out" / "windows.csv")["status"]) == {"answered"}


def test_without_a_threshold_every_window_is_for_review(
    bundle: Bundle, predict: Predict, tmp_path: Path, capsys: Capture
) -> None:
    assert predict(f"bundle={bundle(threshold=None)}") == DONE
    assert "Every window is for review" in capsys.readouterr().out
    assert set(pd.read_csv(tmp_path / "out" / "windows.csv")["status"]) == {"for review"}


@pytest.mark.parametrize("file", ["weights.safetensors", "contract.json", "manifest.json", "LIMITS"])
def test_a_tampered_bundle_is_refused(
    bundle: Bundle, predict: Predict, tmp_path: Path, capsys: Capture, file: str
) -> None:
    path = bundle() / file
    path.write_bytes(path.read_bytes() + b" ")
    assert predict(f"bundle={path.parent}") == USERS_FAULT
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_another_releasers_bundle_is_refused(bundle: Bundle, predict: Predict, capsys: Capture) -> None:
    assert predict(f"bundle={bundle()}", f"trusted_key={'0' * 64}") == USERS_FAULT
    assert "not by the key that you trust" in capsys.readouterr().err


@pytest.fixture
def real_site(drawn_site: Path, tmp_path: Path) -> Path:
    """Drawn site whose tables have the provenance real."""
    site = Path(shutil.copytree(drawn_site, tmp_path / "site"))
    (site / "cohort.json").unlink()
    return site


def test_groups_excluded_by_the_release_are_refused(
    bundle: Bundle, predict: Predict, real_site: Path, drawn_site: Path, tmp_path: Path, capsys: Capture
) -> None:
    people = pd.read_csv(real_site / "subjects.csv", dtype=str).set_index("subject_id")
    severity, gender = people.loc["drawn7-001", ["severity", "gender"]]
    named = {"column": "severity x gender", "group": f"{severity} x {gender}", "reason": "accuracy 0.21 at worst"}
    path = bundle(unfit=[named], kind="release")
    assert predict(f"bundle={path}", f"cohort={real_site}", "subject=drawn7-001") == USERS_FAULT
    assert "not for use with this person: severity x gender" in capsys.readouterr().err
    assert predict(f"bundle={path}", f"cohort={drawn_site}") == DONE  # drawn people are nobody
    page = (tmp_path / "out" / "index.html").read_text()
    assert f"It must not be used with severity x gender {severity} x {gender}: accuracy 0.21 at worst." in page


def test_a_demonstration_is_not_for_real_people(
    bundle: Bundle, predict: Predict, real_site: Path, drawn_site: Path, tmp_path: Path, capsys: Capture
) -> None:
    path = bundle()
    assert predict(f"bundle={path}", f"cohort={real_site}", "subject=drawn7-001") == USERS_FAULT
    assert "is a demonstration" in capsys.readouterr().err
    assert predict(f"bundle={path}", f"cohort={drawn_site}") == DONE


def test_landmarks_of_another_mapping_are_mentioned(bundle: Bundle, predict: Predict, capsys: Capture) -> None:
    assert predict(f"bundle={bundle(landmarks={'used': False, 'mesh_mappings': ['mesh-1']})}") == DONE
    assert "(mesh-1), the video (mesh-2); this model does not take them" in capsys.readouterr().err


def test_crops_of_another_kind_are_refused(bundle: Bundle, predict: Predict, capsys: Capture) -> None:
    assert predict(f"bundle={bundle(geometry={'eyes': None, 'colour': 'gray'})}") == USERS_FAULT
    assert "cropped in another way" in capsys.readouterr().err
