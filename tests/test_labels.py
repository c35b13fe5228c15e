"""Label spaces: fixed orders, and a mapping by name that counts every dropped label."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_id.errors import ConfigError
from fer_id.labels import SPACES, TARGET, LabelSpace, get_space, map_labels

ANY_LABEL = st.sampled_from([None, *sorted({name for space in SPACES.values() for name in space.names})])


def test_the_target_order_is_the_papers() -> None:
    assert TARGET.names == ("happy", "sad", "angry", "fear", "neutral")


def test_affectnet_order_follows_its_published_codes() -> None:
    # AffectNet: 0 neutral, 1 happy, 2 sad, 3 surprise, 4 fear, 5 disgust, 6 anger, 7 contempt.
    assert get_space("affectnet8").index("contempt") == 7
    assert get_space("affectnet8").index("surprise") == 3


@pytest.mark.parametrize("space", SPACES.values(), ids=lambda space: space.name)
def test_every_space_contains_all_target_emotions_and_no_name_twice(space: LabelSpace) -> None:
    assert set(TARGET.names) <= set(space.names)
    assert len(set(space.names)) == len(space)
    assert [space.index(name) for name in space.names] == list(range(len(space)))


def test_unlabelled_has_no_index_and_an_unknown_label_lists_the_known() -> None:
    assert TARGET.index(None) == -1
    with pytest.raises(ConfigError, match=r"'surprise' is not in target5: happy, sad"):
        TARGET.index("surprise")


def test_unknown_space_suggests_and_lists() -> None:
    with pytest.raises(ConfigError, match=r"'fer8'.*did you mean fer7.*known: target5, fer7"):
        get_space("fer8")


@given(st.lists(ANY_LABEL), st.sampled_from(list(SPACES.values())))
def test_mapping_keeps_known_names_and_counts_every_dropped_one(labels: list[str | None], space: LabelSpace) -> None:
    mapped, dropped = map_labels(labels, space)
    assert len(mapped) == len(labels)
    for before, after in zip(labels, mapped, strict=True):
        assert after == (before if before in space.names else None)
    unlabelled = labels.count(None)
    assert sum(dropped.values()) == mapped.count(None) - unlabelled
    assert not set(dropped) & set(space.names)
