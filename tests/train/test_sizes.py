"""The network's size in each iteration."""

import pytest

from tinyyolo3.errors import InputError
from tinyyolo3.train.sizes import SizeSchedule

SIZES = SizeSchedule((416, 256), 1.4, 32, 1000, seed=3)


def test_without_a_factor_the_size_stays():
    assert {SizeSchedule((416, 256)).size(n) for n in range(1, 200)} == {(416, 256)}


def test_a_size_lasts_ten_iterations():
    found = [SIZES.size(n) for n in range(1, 801)]
    assert all(len(set(found[n : n + 10])) == 1 for n in range(0, 800, 10))
    assert len({found[n] for n in range(0, 800, 10)}) >= 6


def test_sizes_are_multiples_of_the_step_between_the_factor_and_its_inverse():
    found = {SIZES.size(n) for n in range(1, 801, 10)}
    assert all(width % 32 == height % 32 == 0 for width, height in found)
    # 416 / 1.4 / 32 + 1 = 10.3 and 416 * 1.4 / 32 + 1 = 19.2
    assert min(found) == (320, 224)
    assert max(found) == SIZES.largest == (608, 384)


def test_the_first_and_the_last_sizes_are_the_largest():
    assert [SIZES.size(n) for n in (1, 10, 911, 1000, 2000)] == [(608, 384)] * 5
    assert len({SIZES.size(n) for n in range(811, 911, 10)}) > 1
    endless = SizeSchedule((416, 256), 1.4, seed=3)
    assert len({endless.size(n) for n in range(911, 1100, 10)}) > 1


def test_what_is_drawn_below_the_cfgs_size_never_exceeds_it():
    """Of 416 a factor of .995 would give 448, as 1.005 does."""
    sizes = SizeSchedule((416, 416), 1.01)
    assert {sizes.size(n) for n in range(11, 400, 10)} == {(416, 416), (448, 448)}


def test_sizes_depend_on_the_seed_alone():
    again, other = SizeSchedule((416, 256), 1.4, 32, 1000, 3), SizeSchedule((416, 256), 1.4)
    numbers = range(801, 1, -10)
    assert [again.size(n) for n in numbers] == [SIZES.size(n) for n in numbers]
    assert [other.size(n) for n in numbers] != [SIZES.size(n) for n in numbers]


def test_iterations_count_from_one():
    with pytest.raises(InputError, match="iterations count from 1, not 0"):
        SIZES.size(0)
