import random
import statistics

import pytest

from greennode_emulator.chat_latency import AT_ONCE, Latency


@pytest.mark.parametrize("text", ["0.5", "fixed:0.5"])
def test_a_fixed_latency_is_always_the_same(text):
    latency = Latency.parse(text)
    assert {latency.draw(random.Random(seed)) for seed in range(5)} == {0.5}


def test_a_lognormal_latency_has_its_median_and_a_long_tail():
    latency, source = Latency.parse("lognormal:0.5,0.6"), random.Random(0)
    drawn = sorted(latency.draw(source) for _ in range(4000))
    assert statistics.median(drawn) == pytest.approx(0.5, rel=0.1)
    # exp(0.6 * 1.645): the 95th percentile is at 2.7 times the median.
    assert drawn[3800] == pytest.approx(0.5 * 2.7, rel=0.15)


def test_without_one_answers_come_at_once():
    assert AT_ONCE.draw(random.Random(0)) == 0


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "nan", "1,2", "normal:1", "lognormal:1", "lognormal:1,-1", "fixed:inf"]
)
def test_what_is_no_latency_is_refused(text):
    with pytest.raises(ValueError, match="lognormal:MEDIAN_SECONDS,SIGMA"):
        Latency.parse(text)
