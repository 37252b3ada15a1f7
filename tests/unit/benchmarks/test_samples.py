from benchmarks.samples import Spread, percentile, ratio, spread


def test_a_spread_is_the_median_and_the_range() -> None:
    assert spread([3.0, 1.0, 2.0, 100.0]) == Spread(2.5, 1.0, 100.0)


def test_one_run_is_a_spread_without_width() -> None:
    assert spread([0.5]) == Spread(0.5, 0.5, 0.5)


def test_a_ratio_is_that_of_the_medians_and_its_range_that_of_the_pairs() -> None:
    assert ratio([2.0, 4.0, 9.0], [1.0, 4.0, 3.0]) == Spread(4.0 / 3.0, 1.0, 3.0)


def test_one_disturbed_run_does_not_decide_a_ratio() -> None:
    assert ratio([1.0, 1.0, 50.0], [1.0, 1.0, 1.0]).value == 1.0


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(200, 0, -1)]
    assert [percentile(values, percent) for percent in (0, 50, 99, 100)] == [1.0, 100.0, 198.0, 200.0]


def test_the_99th_of_few_values_is_the_greatest() -> None:
    assert percentile([1.0, 7.0, 3.0], 99) == 7.0
