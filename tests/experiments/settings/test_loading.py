"""Group files and arguments become one typed config, and all their problems one message."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from data_modules.registry import DATASETS, known_datasets, load_dataset, source_config
from experiments.config import TrainConfig, TrainerConfig
from experiments.settings.loading import GROUPS, chosen_by_name, group_names, load, plain, read, settings
from experiments.verbs.stores import PrepareConfig
from fer_id.errors import ConfigError
from fer_id.runs.configs import RETIRED, differences
from fer_id.runs.run_dir import RunDir
from fer_id.settings import Clash, converted, setting

STORE = ["data=synthetic", "data.store=data/drawn"]


@dataclass
class Part:
    """Section of a config."""

    rate: float = setting(0.1, above=0, max=1, help="a rate")
    kind: str = setting("plain", choices=("plain", "fancy"))
    steps: list[tuple[float, int]] = setting([], min=0)

    def clashes(self) -> Any:
        """A combination that cannot be."""
        if self.kind == "fancy" and self.rate > 0.5:
            yield Clash(("kind", "rate"), "fancy needs a rate of 0.5 at most")


@dataclass
class Whole:
    """Config with settings of every type."""

    text: str = "x"
    maybe: str | None = None
    count: int = setting(1, min=1)
    limit: float | None = setting(None, above=0)
    bare: float = 0.5
    on: bool = False
    names: list[str] = field(default_factory=list)
    named: dict[str, int] = field(default_factory=dict)
    size: tuple[int, int] = (1, 2)
    mode: Literal["a", "b"] = "a"
    must: str = setting("given", required=True, help="something")
    part: Part = field(default_factory=Part)


def message(schema: type, *argv: str, paths: str = "") -> str:
    """Return the error of a faulty config."""
    with pytest.raises(ConfigError) as caught:
        load(schema, argv, paths)
    return str(caught.value)


# What a value may look like


@pytest.mark.parametrize(
    "text", ["1042", "off", "1e3", "null?", "yes", "0x10", "[1", "a: b", "~", " x ", "ü=ö", "# no"]
)
def test_text_stays_as_typed(text: str) -> None:
    assert load(Whole, [f"text={text}"]).text == text
    assert load(Whole, [f"maybe={text}"]).maybe == text


def test_text_stays_as_typed_in_files(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("text: off\nmaybe: 1e3\nnames: [1042, yes, ~x]\n")
    config = read(Whole, path)
    assert (config.text, config.maybe, config.names) == ("off", "1e3", ["1042", "yes", "~x"])


@pytest.mark.parametrize(("text", "value"), [("1e-4", 1e-4), ("3", 3.0), (".5", 0.5), ("1.", 1.0), ("+2E+1", 20.0)])
def test_numbers(text: str, value: float) -> None:
    limit = load(Whole, [f"limit={text}"]).limit
    assert (type(limit), limit) == (float, value)


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        ("on=maybe", "true or false"),
        ("on=", "true or false"),
        ("limit=nan", "a number such as 0.01 or 1e-4 or null"),
        ("limit=inf", "a number such as 0.01 or 1e-4 or null"),
        ("limit=1e999", "a number such as 0.01 or 1e-4 or null"),
        ("limit=fast", "a number such as 0.01 or 1e-4 or null"),
        ("bare=nan", "a number such as 0.01 or 1e-4"),
        ("bare=-inf", "a number such as 0.01 or 1e-4"),
        ("bare=null", "a number such as 0.01 or 1e-4"),
        ("bare=", "a number such as 0.01 or 1e-4"),
        ("count=1.0", "a whole number"),
        ("count=1e3", "a whole number"),
        ("count=true", "a whole number"),
        ("count=[1]", "a whole number"),
        ("text=null", "a single text"),
        ("mode=c", "one of a, b"),
        ("size=[1, 2, 3]", "a list such as [a, b] (tuple[int, int])"),
        ("size=[1, x]", "a list such as [a, b] (tuple[int, int])"),
        ("size=3", "a list such as [a, b] (tuple[int, int])"),
        ("names=[1, 2", "a list such as [a, b] (list[str])"),
        ("names=[[a]]", "a list such as [a, b] (list[str])"),
        ("names=[{a: b}]", "a list such as [a, b] (list[str])"),
        ("names=[a, null]", "a list such as [a, b] (list[str])"),
        ("names=", "a list such as [a, b] (list[str])"),
        ("part.steps=[[0.5]]", "a list such as [a, b] (list[tuple[float, int]])"),
        ("part.steps=[[inf, 1]]", "a list such as [a, b] (list[tuple[float, int]])"),
        ("part.steps=[[0.5, -1]]", "at least 0"),
    ],
)
def test_a_value_of_another_type_is_refused(argument: str, expected: str) -> None:
    assert f"  - {argument} (command line): expected {expected}\n" in message(Whole, argument)


@pytest.mark.parametrize("content", ["text: [a]", "text: [[a]]", "names: [[a]]", "count: [1]", "size: [[1], 2]"])
def test_a_list_in_a_file_where_none_belongs_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(content)
    with pytest.raises(ConfigError, match=r"\(a\.yaml, line 1\): expected"):
        read(Whole, path)


@pytest.mark.parametrize("sign", ["${oc.env:HOME}", "${", "a${part.rate}b", "???"])
@pytest.mark.parametrize("key", ["text", "maybe", "names", "count"])
def test_interpolations_are_refused(key: str, sign: str) -> None:
    assert f"{key}={sign} (command line): ${{...}} and ??? are not filled in" in message(Whole, f"{key}={sign}")
    assert "are not filled in" in message(Whole, f"{key}=[{sign}]")


def test_lists_and_null() -> None:
    config = load(Whole, ["names=one", "size=[3, 4]", "maybe=null", "limit=", "part.steps=[[0, 32], [0.5, 48]]"])
    assert config.names == ["one"]
    assert config.size == (3, 4)
    assert config.maybe is None
    assert config.limit is None
    assert config.part.steps == [(0.0, 32), (0.5, 48)]
    assert load(Whole, ["names=[a, 'b, c']"]).names == ["a", "b, c"]
    assert load(Whole, ["names=[]"]).names == []


# What is wrong is told, all of it, with its place and the way out


def test_all_problems_of_a_command_are_reported_together() -> None:
    text = message(
        TrainConfig,
        *("data=fer2013", "optim.lr=-1", "batch_size=0", "model=resnet5", "trainr.max_epochs=3", "seed=abc"),
        *("trainer.max_epochs=0", "augment.flip=2", "model.head=lsdm", "name=${oc.env:HOME}", "seed=1", "--fast", "x"),
    )
    for expected in (
        "13 problems",
        "optim.lr=-1 (command line): expected above 0",
        "batch_size=0 (command line): expected at least 1",
        "model=resnet5 (command line): unknown, did you mean model=resnet50? Known: cnn_lstm, cnn_lstm_land",
        "trainr.max_epochs=3 (command line): unknown key, did you mean trainer.max_epochs?",
        "seed=abc (command line): expected a whole number",
        "seed is given twice, before as seed=abc",
        "trainer.max_epochs=0 (command line): expected at least 1",
        "augment.flip=2 (command line): expected at least 0, at most 1",
        "model.head: 'lsdm' is unknown",
        "name=${oc.env:HOME} (command line): ${...} and ??? are not filled in",
        "--fast: settings are written key=value, without dashes",
        "x: expected key=value; this verb takes no path",
        "data.store: is empty",
    ):
        assert expected in text


def test_a_key_without_its_section_suggests_the_full_key() -> None:
    text = message(TrainConfig, *STORE, "lr=1", "optim.learning_rate=1", "optim=adam", "seed.x=1")
    assert "lr=1 (command line): unknown key, did you mean optim.lr?" in text
    assert "Known here: optim.name, optim.lr, optim.weight_decay" in text
    assert "optim=adam (command line): is a section; set one of its keys: optim.name" in text
    assert "seed.x=1 (command line): unknown key" in text


@pytest.mark.parametrize("argument", ["model.encoder=conv5", "model=timm:resnt18", "data.label_space=fer8"])
def test_unknown_names_list_the_known(argument: str) -> None:
    text = message(TrainConfig, *STORE, argument)
    assert {"model.encoder=conv5": "shallow", "model=timm:resnt18": "timm:resnet18"}.get(
        argument, "target5, fer7"
    ) in text


def test_an_unknown_group_without_a_similar_name_lists_the_known() -> None:
    assert "protocol=xx (command line): unknown. Known: holdout, kfold" in message(TrainConfig, *STORE, "protocol=xx")


def test_an_unknown_dataset_lists_the_known_and_its_keys_are_no_problems() -> None:
    for schema in (TrainConfig, PrepareConfig):
        text = message(schema, "data.name=fer2014", *(["data.votes=x.csv"] if schema is PrepareConfig else STORE[1:]))
        assert "did you mean fer2013" in text
        assert all(name in text for name in DATASETS)
        assert "votes" not in text  # which keys it has is not known
    assert "out is required" in text  # beside the other problems


def test_missing_choice_and_required_keys() -> None:
    text = message(PrepareConfig)
    assert "data: nothing chosen; say data=NAME, NAME one of affectnet, affwild2, cafe, ckplus, cohort, fer2013" in text
    assert "out is required (folder of the store to make): say out=..." in text
    assert "data.source" in text
    assert "made by fer-id synth" in message(PrepareConfig, "data=synthetic", "out=x")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["data=ckplus"], "kfold"),  # whose authors publish no split
        (["data=ckplus", "protocol=loso"], "loso"),
        (["data=affwild2"], "official"),
    ],
)
def test_a_dataset_may_have_a_protocol_of_its_own(arguments: list[str], expected: str) -> None:
    assert load(TrainConfig, [*arguments, "data.store=x"]).protocol.name == expected


def test_combinations() -> None:
    assert "part.kind, part.rate: fancy needs" in message(Whole, "part.kind=fancy", "part.rate=0.7")
    text = message(Whole, "part.kind=fancy", "part.rate=7")  # the rate is wrong by itself: told once
    assert "fancy needs" not in text
    assert "at most 1" in text
    assert "choose one" in message(TrainConfig, *STORE, "init.run=a", "init.encoder_from=b")
    assert "data.frames=clip" in message(TrainConfig, *STORE, "model=resnet50", "model.head=lstm")
    assert "resolution" in message(TrainConfig, *STORE, "trainer.resolution=[[0.5, 32], [0, 128]]")
    small = ("model.space_to_depth=true", "trainer.resolution=[[0, 24], [0.5, 32]]")
    assert "crops of [24] pixels are too small for the blocks of conv4: 32 at least" in message(
        TrainConfig, *STORE, *small
    )
    for name in ("../x", "/x", "a/../../b"):
        assert "expected a name such as study/run" in message(TrainConfig, *STORE, f"name={name}")


def test_a_file_is_reported_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("optim:\n  lr: fast\n  lr: 1\ntrainer: {max_epoch: 3}\nloss: &a\n")
    text = message(TrainConfig, *STORE, f"recipe={path}")
    assert f"optim.lr=fast ({path}, line 2): expected a number such as 0.01 or 1e-4" in text
    assert f"optim.lr=1 ({path}, line 3): optim.lr is given twice, before as optim.lr=fast ({path}, line 2)" in text
    assert f"trainer.max_epoch=3 ({path}, line 4): unknown key, did you mean trainer.max_epochs?" in text


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a: [1\n", "not readable as YAML"),
        (b"a: &x 1\nb: *x\n", "an alias (*name)"),
        (b"a: &x {b: *x}\n", "an alias (*name)"),
        (b"- a\n", "expected keys and values"),
        (b"\xff\xfe\x00", "not a text file"),
        (b"seed: ${oc.env:HOME}\n", "${...}"),
        (b"optim: {[a]: 1}\n", "unknown key"),
        (b"seed: {a: 1}\n", "unknown key"),
        (b"seed: !!python/object/apply:os.system [ls]\n", "expected a whole number"),
        (None, "no such file"),
    ],
)
def test_bad_files(tmp_path: Path, content: bytes | None, expected: str) -> None:
    path = tmp_path / "bad.yaml"
    if content is not None:
        path.write_bytes(content)
    assert expected in message(TrainConfig, *STORE, f"recipe={path}")


def test_an_empty_file_sets_nothing(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    assert load(TrainConfig, [*STORE, f"recipe={path}"]).recipe == str(path)


# What is chosen


def test_order_of_arguments_does_not_matter() -> None:
    first = load(TrainConfig, ["trainer.max_epochs=3", "recipe=tuned", *STORE, "model=shallow_cnn"])
    assert first == load(TrainConfig, ["model=shallow_cnn", *reversed(STORE), "recipe=tuned", "trainer.max_epochs=3"])
    assert (first.trainer.max_epochs, first.recipe, first.model.encoder) == (3, "tuned", "shallow")
    assert first.optim.name == "adamw"


def test_paper_is_the_default_and_is_table_3() -> None:
    config = load(TrainConfig, STORE)
    assert (config.recipe, config.model.name, config.protocol.name) == ("paper", "cnn_lstm", "official")
    assert (config.optim.name, config.optim.lr, config.batch_size, config.trainer.max_epochs) == ("adam", 1e-4, 32, 100)
    assert (config.model.head, config.model.hidden) == ("lstm", 128)
    assert config.trainer.patience > 0


def test_any_timm_model_needs_no_file() -> None:
    config = load(TrainConfig, [*STORE, "model=timm:resnet18"])
    assert (config.model.name, config.model.encoder, config.model.head) == ("timm:resnet18",) * 2 + ("mean",)
    temporal = load(TrainConfig, [*STORE, "model=timm:resnet18", "model.head=gru"])
    assert (temporal.model.head, temporal.data.frames) == ("gru", "clip")


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b0"])
def test_a_shipped_name_and_timms_name_differ_by_the_stride(name: str) -> None:
    shipped, foreign = (plain(load(TrainConfig, [*STORE, f"model={choice}"])) for choice in (name, f"timm:{name}"))
    assert differences(shipped, foreign) == {
        "model.name": (name, f"timm:{name}"),
        "model.stride": ("own", "halved"),  # which timm:NAME always had
    }


@pytest.mark.parametrize("dataset", DATASETS)
def test_each_dataset_has_its_own_settings(dataset: str) -> None:
    config = load(TrainConfig, [f"data={dataset}", "data.store=[a, b]"])
    assert (config.data.name, config.data.store) == (dataset, ["a", "b"])
    if not load_dataset(dataset).made_by:
        needed = ["data.pattern={subject}-{label}.mp4"] if dataset == "video_folder" else []
        prepared = load(PrepareConfig, [f"data={dataset}", "data.source=raw", "out=store", *needed]).data
        assert type(prepared) is source_config(dataset)
        assert (prepared.name, prepared.source) == (dataset, "raw")


def test_ferplus_has_the_labels_of_ferplus_by_itself() -> None:
    config = load(PrepareConfig, ["data=ferplus", "data.source=raw", "out=store"])
    assert vars(config.data)["labels"] == "ferplus_majority"


@pytest.mark.parametrize("dataset", RETIRED)
def test_settings_of_prepare_are_unknown_to_a_training_but_skipped_in_an_earlier_run(
    dataset: str, tmp_path: Path
) -> None:
    config, retired = load(TrainConfig, [f"data={dataset}", "data.store=a"]), RETIRED[dataset]
    text = message(TrainConfig, f"data={dataset}", "data.store=a", *(f"data.{key}=1" for key in retired))
    assert text.count("unknown key; fer-id prepare takes it") == len(retired)
    earlier = plain(config)
    earlier["data"] |= retired
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(earlier))
    assert read(TrainConfig, tmp_path / "config.yaml") == config
    assert RunDir(tmp_path).changed(plain(config)) == []


@pytest.mark.parametrize(
    ("group", "name"), [(group, name) for group in ("model", "recipe", "protocol") for name in group_names(group)]
)
def test_every_shipped_group_loads_and_comes_back(group: str, name: str, tmp_path: Path) -> None:
    config = load(TrainConfig, [*STORE, f"{group}={name}"])
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    assert read(TrainConfig, tmp_path / "config.yaml") == config


def test_paths_fill_their_keys(tmp_path: Path) -> None:
    assert load(Whole, ["a", "b/c"], "names").names == ["a", "b/c"]
    assert load(Whole, ["runs/x-1=2"], "text").text == "runs/x-1=2"
    assert "given twice" in message(Whole, "a", "text=b", paths="text")
    assert "expected a single text" in message(Whole, "a", "b", paths="text")


# Properties of every config


@pytest.mark.parametrize("schema", [TrainConfig, PrepareConfig])
def test_defaults_are_within_their_limits(schema: type) -> None:
    for entry in settings(schema()):
        assert converted(entry.default, entry.hint, entry.metadata) == entry.default


def test_mutable_defaults_are_not_shared() -> None:
    first, second = TrainerConfig(), TrainerConfig()
    first.resolution.append((0.0, 32))
    assert second.resolution == []


def test_selectors_have_their_group_files() -> None:
    for section in fields(TrainConfig):
        if default := section.metadata.get("selector"):
            assert (GROUPS / section.name / f"{default}.yaml").is_file()
    assert set(group_names("data")) > set(known_datasets())


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(
    lambda text: "${" not in text and "???" not in text and text != "null"
)
FINITE = st.floats(0.0, 1.0, exclude_min=True)
WHOLE = st.builds(
    Whole,
    text=TEXT,
    maybe=st.none() | TEXT,
    count=st.integers(1, 10**20),
    bare=st.floats(-1e300, 1e300),
    limit=st.none() | st.floats(1e-300, 1e300),
    on=st.booleans(),
    names=st.lists(TEXT, max_size=3),
    named=st.dictionaries(TEXT, st.integers(), max_size=3),
    size=st.tuples(st.integers(), st.integers()),
    mode=st.sampled_from(["a", "b"]),
    must=TEXT.filter(bool),
    part=st.builds(
        Part,
        rate=st.floats(1e-9, 0.5),
        kind=st.sampled_from(["plain", "fancy"]),
        steps=st.lists(st.tuples(FINITE, st.integers(0, 64))),
    ),
)


def to_yaml(config: Any) -> str:
    """Return the text that ``RunDir.write_config`` writes."""
    return str(yaml.safe_dump(plain(config), sort_keys=False))


@given(WHOLE)
def test_any_config_is_read_back_from_its_file(tmp_path_factory: pytest.TempPathFactory, config: Whole) -> None:
    path = tmp_path_factory.mktemp("config") / "config.yaml"
    path.write_text(to_yaml(config), encoding="utf-8", newline="")
    assert plain(read(Whole, path)) == plain(_emptied(config))


@given(WHOLE)
def test_a_file_has_the_same_values_for_other_yaml_readers(config: Whole) -> None:
    assert yaml.safe_load(to_yaml(config)) == plain(config)


def _emptied(config: Whole) -> Whole:
    """Replace empty text by null in fields that may be null."""
    config.maybe = config.maybe or None
    return config


@given(st.lists(st.text(max_size=20), max_size=6))
def test_any_arguments_load_or_raise_config_errors(argv: list[str]) -> None:
    try:
        config = load(Whole, argv)
    except ConfigError:
        return
    assert is_dataclass(config)


def test_a_mapping_is_given_whole_or_value_by_value(tmp_path: Path) -> None:
    assert load(Whole, ["named={a: 1, b.c: 2}"]).named == {"a": 1, "b.c": 2}
    assert load(Whole, ["named.a=1", "named.b.c=2"]).named == {"a": 1, "b.c": 2}
    assert "expected a mapping such as {a: b}" in message(Whole, "named=a")
    assert "named" in message(Whole, "named.a=x")


def test_a_section_that_changes_with_its_name() -> None:
    @dataclass
    class Named(Part):
        name: str = ""
        extra: int = 0

    @dataclass
    class Holder:
        part: Part = field(default_factory=Part, metadata=chosen_by_name(variant=lambda name: {"named": Named}[name]))

    with pytest.raises(ConfigError, match=r"extra=x \(command line\): expected a whole number"):
        load(Holder, ["part.name=named", "part.extra=x"])


@pytest.mark.parametrize("name", ["team/faces", "a#b%c?d:e", " ", "a\nb", "a\x1b[31m", "x" * 200, "a\\b"])
@pytest.mark.parametrize("key", ["project", "entity"])
def test_names_that_no_wandb_server_accepts_are_refused_before_anything_is_opened(key: str, name: str) -> None:
    with pytest.raises(ConfigError, match=rf"logging\.{key}"):
        load(TrainConfig, ["data=synthetic", "data.store=a", f"logging.{key}={name}"], "")


@pytest.mark.parametrize("name", ["fer-id", "our team 2", "x", "d\u00e9mo"])
def test_names_that_wandb_accepts_are_accepted(name: str) -> None:
    config = load(TrainConfig, ["data=synthetic", "data.store=a", f"logging.project={name}"], "")
    assert config.logging.project == name
