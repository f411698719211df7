from collections import Counter

from greennode_emulator.dice import Dice


def test_the_same_seed_gives_the_same_choices():
    one, other = Dice(b"seed"), Dice(b"seed")
    assert [one.below(1000) for _ in range(200)] == [other.below(1000) for _ in range(200)]


def test_choices_are_spread_evenly():
    counts = Counter(Dice(str(seed).encode()).below(5) for seed in range(5000))
    assert sorted(counts) == [0, 1, 2, 3, 4]
    assert min(counts.values()) > 850


def test_a_long_stream_stays_even():
    dice = Dice(b"seed")
    counts = Counter(dice.below(7) for _ in range(7000))
    assert min(counts.values()) > 850
