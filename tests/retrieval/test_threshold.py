import dataclasses
import json

import numpy as np
import pytest
from scipy.special import expit

from fgsam_jax.errors import InputError
from fgsam_jax.retrieval import threshold
from fgsam_jax.retrieval.calibration import calibrate, calibration_error
from fgsam_jax.retrieval.pairs import all_pairs, distance_at, interval_at
from fgsam_jax.retrieval.threshold import Threshold, find_threshold


def crops(people=30, each=4, noise=0.5, seed=0):
    """Descriptors of length 1, identities and cameras of people who are hard to tell apart."""
    random = np.random.default_rng(seed)
    identities = np.repeat(np.arange(people), each)
    rows = random.normal(size=(people, 6))[identities]
    rows += noise * random.normal(size=rows.shape)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32), identities, random.integers(1, 4, len(identities))


def slow_pairs(rows, identities, cameras):
    """[(distance, person, person)], one pair after the other."""
    return [
        (float(np.linalg.norm(np.float64(rows[i]) - rows[j])), identities[i], identities[j])
        for i in range(len(rows))
        for j in range(i + 1, len(rows))
        if cameras is None or cameras[i] != cameras[j]
    ]


@pytest.mark.parametrize("known", [True, False])
def test_the_threshold_is_the_greatest_distance_that_keeps_to_the_rate(monkeypatch, known):
    monkeypatch.setattr("fgsam_jax.retrieval.pairs._BLOCK", 7)
    rows, identities, cameras = crops()
    cameras = cameras if known else None
    found = find_threshold(rows, identities, cameras, false_match_rate=0.02)
    strangers = np.sort([d for d, a, b in slow_pairs(rows, identities, cameras) if a != b])
    rates = [np.mean(strangers <= d + 1e-6) for d in strangers]
    wanted = max(d for d, rate in zip(strangers, rates, strict=True) if rate <= 0.02)
    assert found.distance == pytest.approx(wanted, abs=1e-6)
    assert found.people == 30


def test_the_rates_of_the_threshold_itself_are_told_beside_those_of_halves():
    rows, identities, cameras = crops()
    found = find_threshold(rows, identities, cameras, false_match_rate=0.02)
    pairs = slow_pairs(rows, identities, cameras)
    one = [d <= found.distance + 1e-6 for d, a, b in pairs if a == b]
    two = [d <= found.distance + 1e-6 for d, a, b in pairs if a != b]
    learned = found.learned
    assert (learned.of_one, learned.of_two) == (len(one), len(two))
    rates = learned.false_match_rate, learned.true_match_rate
    assert rates == pytest.approx((np.mean(two), np.mean(one)))
    assert Threshold.from_dict(found.to_dict()) == found
    earlier = {name: value for name, value in found.to_dict().items() if name != "learned"}
    assert Threshold.from_dict(earlier) == dataclasses.replace(found, learned=None)


def test_pairs_that_are_equally_far_are_accepted_together_or_not():
    rows = np.array([[0.0], [1.0], [3.0], [4.0], [6.0]])  # apart by 1 1 2 2 3 3 3 4 5 6
    pairs = all_pairs(rows, np.arange(5), None)
    assert [distance_at(pairs, rate) for rate in (0.2, 0.3, 0.4, 0.69, 0.7)] == [1, 1, 2, 2, 3]
    assert 0.9 < distance_at(pairs, 0.1) < 1


def test_names_of_people_and_cameras_are_as_good_as_numbers():
    rows, identities, cameras = crops()
    named = [f"person {n}" for n in 100 + identities], [f"cam{n}" for n in cameras]
    given = find_threshold(rows, identities, cameras, false_match_rate=0.02)
    assert find_threshold(rows, *named, false_match_rate=0.02) == given


def test_the_interval_is_that_of_crops_of_people_drawn_again(monkeypatch):
    rows, identities, cameras = crops(12)
    monkeypatch.setattr("fgsam_jax.retrieval.pairs._RESAMPLES", 40)
    found = interval_at(all_pairs(rows, identities, cameras), 0.1, np.random.default_rng(3))
    random, distances = np.random.default_rng(3), []
    pairs = [x for x in slow_pairs(rows, identities, cameras) if x[1] != x[2]]
    for _ in range(40):
        drawn = random.choice(np.arange(12), 12)
        times = [(d, np.sum(drawn == a) * np.sum(drawn == b)) for d, a, b in pairs]
        repeated = np.sort(np.repeat(*map(np.array, zip(*times, strict=True))))
        distances.append(max(d for d in repeated if np.mean(repeated <= d) <= 0.1 + 1e-12))
    np.testing.assert_allclose(found, np.quantile(distances, [0.025, 0.975]), atol=1e-6)


def test_the_interval_narrows_with_more_people():
    widths = []
    for people in (20, 80, 320):
        pairs = all_pairs(*crops(people, 2))
        low, high = interval_at(pairs, 0.05, np.random.default_rng(0))
        assert low <= distance_at(pairs, 0.05) <= high
        widths.append(high - low)
    assert widths[0] > 1.5 * widths[1] > 2 * widths[2]


def test_held_out_figures_are_those_of_the_other_half():
    rows, identities, cameras = crops(60)
    found = find_threshold(rows, identities, cameras, false_match_rate=0.05)
    wanted = []
    random = np.random.default_rng(0)
    kept = threshold._drawn(identities, random)
    pairs = all_pairs(rows[kept], identities[kept], cameras[kept])
    for _ in range(5):
        halves = threshold._halves(pairs, random)
        assert not set(halves[0].first) & set(halves[1].first)
        for learned, seen in (halves, halves[::-1]):
            accepted = seen.distance <= distance_at(learned, 0.05)
            wanted.append([accepted[~seen.same].mean(), accepted[seen.same].mean()])
    np.testing.assert_allclose(found.held_out[:2], np.mean(wanted, 0), atol=1e-9)
    assert found.held_out.false_match_rate == pytest.approx(0.05, abs=0.03)
    assert found.held_out.calibration_error < 0.1


def test_calibration_finds_the_curve_that_made_the_pairs():
    random = np.random.default_rng(0)
    distances = random.uniform(0, 2, 200_000)
    same = random.random(len(distances)) < expit(-(6 * distances - 6))
    slope, offset = calibrate(distances, same)
    assert (slope, offset) == pytest.approx((6, -6), abs=0.15)
    assert calibration_error(expit(-slope * distances - offset), same) < 0.01
    overconfident = expit(-20 * distances + 20)
    assert calibration_error(overconfident, same) > 0.05


def test_the_calibration_error_weighs_pairs_of_one_and_of_two_people_the_same():
    random = np.random.default_rng(0)
    probabilities, same = random.random(500), random.random(500) < 0.1
    wanted = 0.0
    for bin_ in range(15):
        inside = (probabilities >= bin_ / 15) & (probabilities < (bin_ + 1) / 15)
        weights = np.where(same, 0.5 / same.sum(), 0.5 / (~same).sum())[inside]
        gap = weights @ probabilities[inside] - weights @ same[inside]
        wanted += abs(gap)
    assert calibration_error(probabilities, same) == pytest.approx(wanted, abs=1e-12)


def test_of_many_crops_everybody_keeps_two(monkeypatch):
    monkeypatch.setattr(threshold, "_CROPS", 50)
    people = np.repeat(np.arange(20), [1] * 5 + [9] * 15)
    kept = threshold._drawn(people, np.random.default_rng(0))
    assert len(set(kept)) == 50
    counts = np.bincount(people[kept])
    np.testing.assert_array_equal(counts[:5], 1)
    assert set(counts[5:]) == {3}


def test_a_threshold_is_plain_json_and_comes_back():
    found = find_threshold(*crops(), false_match_rate=0.05)
    values = json.loads(json.dumps(found.to_dict()))
    assert {"distance", "false_match_rate", "interval"} <= set(values)
    assert Threshold.from_dict(values) == found
    np.testing.assert_array_less(found.probability(1.0), found.probability(0.2))
    for broken in ({}, {**values, "held_out": {"rate": 1}}, {**values, "interval": None}):
        with pytest.raises(InputError, match="the threshold kept is damaged"):
            Threshold.from_dict(broken)
    assert dataclasses.replace(found, offset=0.0, slope=0.0).probability(1.0) == 0.5


ROWS, PEOPLE, CAMERAS = crops(8)


@pytest.mark.parametrize(
    ("given", "rate", "message"),
    [
        ((ROWS[:16], PEOPLE[:16] // 2), 0.1, r"seen twice.*got 2"),
        ((ROWS, PEOPLE, np.ones(len(PEOPLE), int)), 0.1, r"seen twice.*got 0"),
        ((ROWS[:0], PEOPLE[:0]), 0.1, r"seen twice.*got 0"),
        ((ROWS, PEOPLE, CAMERAS), 1e-3, r"rate of 0\.001 needs 1,000 pairs.*rate of \S+ or more"),
        ((ROWS, PEOPLE, CAMERAS), 1.0, "above 0 and below 1, got 1"),
        ((ROWS, PEOPLE[:-1]), 0.1, r"needed descriptors \[n, dim\].*int64 \[31\]"),
        ((np.where(PEOPLE[:, None] == 3, np.nan, ROWS), PEOPLE), 0.1, "not finite"),
    ],
)
def test_too_little_or_broken_is_told_in_one_line(given, rate, message):
    with pytest.raises(InputError, match=message):
        find_threshold(*given, false_match_rate=rate)
