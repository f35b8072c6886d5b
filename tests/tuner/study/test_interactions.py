"""The pair that interacts, of scores whose causes are known."""

from made_search import DOMAINS, points

from tuner.study.interactions import strongest_pair


def test_a_product_interacts_and_a_sum_does_not() -> None:
    keys = [*DOMAINS]
    product = strongest_pair(points(lambda a, b, c: (a - 0.5) * (b - 0.5)), DOMAINS, keys, 20)
    total = strongest_pair(points(lambda a, b, c: a + b), DOMAINS, keys, 20)
    assert product is not None
    assert total is not None
    assert set(product.keys) == {"training.a", "training.b"}
    assert product.strength > 10 * total.strength
    assert product.chance is not None
    assert product.strength > product.chance


def test_a_pair_takes_two_hyperparameters_and_some_trials() -> None:
    made = points(lambda a, b, c: a)
    assert strongest_pair(made, DOMAINS, ["training.a"], 0) is None
    assert strongest_pair(made[:5], DOMAINS, [*DOMAINS], 0) is None
