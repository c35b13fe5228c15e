"""Flipping a face: the permutation of its 68 points."""

import numpy as np

from fer_id.types import FLIP_68, LANDMARKS


def half_face() -> dict[int, tuple[float, float]]:
    """Points of the image's left half and of the midline (x from the midline, y down).

    Read off figure 1 of Sagonas et al. (2016): jaw 0-8, brow 17-21, nose 27-33, eye 36-41, outer lips 48-51 and 57-59,
    inner lips 60-62 and 66-67.
    """
    points = {i: (-9 + 0.1 * i**2, float(i)) for i in range(9)}
    points[8] = (0.0, 9.0)
    points |= {17 + i: (-7 + 1.3 * i, -4.0 - np.sin(i)) for i in range(5)}
    points |= {27 + i: (0.0, -2.0 + i) for i in range(4)} | {31: (-2.0, 2.5), 32: (-1.0, 2.8), 33: (0.0, 3.0)}
    points |= {36: (-6.0, -2.0), 37: (-5.0, -2.6), 38: (-4.0, -2.7)}
    points |= {39: (-3.0, -2.0), 40: (-4.0, -1.6), 41: (-5.0, -1.5)}
    points |= {48: (-3.0, 5.0), 49: (-2.0, 4.4), 50: (-1.0, 4.1), 51: (0.0, 4.3)}
    points |= {57: (0.0, 6.4), 58: (-1.0, 6.3), 59: (-2.0, 5.9)}
    points |= {60: (-2.5, 5.1), 61: (-1.1, 4.8), 62: (0.0, 4.9), 66: (0.0, 5.6), 67: (-1.2, 5.5)}
    return points


def symmetric_face() -> np.ndarray:
    """A face equal to its mirror image, its right half drawn from the same figure, in the order of the 68 points."""
    left = half_face()
    right_of = {0: 16, 1: 15, 2: 14, 3: 13, 4: 12, 5: 11, 6: 10, 7: 9}  # jaw runs from ear to ear
    right_of |= {17: 26, 18: 25, 19: 24, 20: 23, 21: 22}  # brows run from left to right
    right_of |= {31: 35, 32: 34}
    right_of |= {36: 45, 37: 44, 38: 43, 39: 42, 40: 47, 41: 46}  # each eye runs clockwise from its left corner
    right_of |= {48: 54, 49: 53, 50: 52, 58: 56, 59: 55, 60: 64, 61: 63, 67: 65}  # so do both lips
    face = np.full((LANDMARKS, 2), np.nan)
    for index, (x, y) in left.items():
        face[index] = x, y
        if index in right_of:
            face[right_of[index]] = -x, y
    assert not np.isnan(face).any()
    return face


def test_the_flip_is_an_involution_over_all_points() -> None:
    order = np.array(FLIP_68)
    np.testing.assert_array_equal(np.sort(order), np.arange(LANDMARKS))
    np.testing.assert_array_equal(order[order], np.arange(LANDMARKS))


def test_a_symmetric_face_flipped_is_itself() -> None:
    face = symmetric_face()
    np.testing.assert_allclose((face * [-1, 1])[list(FLIP_68)], face)


def test_points_on_the_midline_stay() -> None:
    assert [i for i, source in enumerate(FLIP_68) if i == source] == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
