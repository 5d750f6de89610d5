from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from scanner.core.config import RunConfig, override
from scanner.core.errors import ConfigError
from scanner.export.policy import STATUS_RULES, Policy, hashed

COLUMNS = {
    "image_id": "number", "status": "text", "num_bytes": "number", "width": "number", "host": "text", "is_blank": "boolean",
    "aesthetic": "number", "caption_length": "number", "odd": "other", "is_representative": "boolean", "resolution": "number",
}  # fmt: skip


def policy(**keep) -> Policy:
    return Policy.of(override(RunConfig(), {f"keep.{name}": value for name, value in keep.items()}).keep, COLUMNS)


def rows(**columns) -> pa.Table:
    n = len(next(iter(columns.values())))
    base = {"image_id": list(range(n)), "status": ["ok"] * n, "num_bytes": [9] * n}
    return pa.table({**base, **columns})


def test_scores_are_higher_first_and_missing_last():
    block = rows(
        aesthetic=pa.array([1.5, None, float("nan"), -2.0]), is_blank=pa.array([True, False, None, True]),
        host=["a.org", None, "b.org", "c.org"],
    )  # fmt: skip
    found = policy(prefer=["aesthetic", "aesthetic asc", "is_blank asc", "host in b.org,a.org"]).scores(block)
    inf = np.inf
    assert found[:, 0].tolist() == [1.5, -inf, -inf, -2.0]
    assert found[:, 1].tolist() == [-1.5, -inf, -inf, 2.0]
    assert found[:, 2].tolist() == [-1, 0, -inf, -1]
    assert found[:, 3].tolist() == [1, 0, 1, 0]


def test_decimals_and_whole_numbers_are_numbers():
    import decimal

    block = rows(aesthetic=pa.array([decimal.Decimal("1.5"), None]), width=pa.array([3, None], pa.uint64()))
    found = policy(prefer=["aesthetic", "width"]).scores(block)
    assert found.tolist() == [[1.5, 3.0], [-np.inf, -np.inf]]


@pytest.mark.parametrize(
    ("rule", "stays"),
    [
        ("width >= 10", [True, False, False]),
        ("width < 10", [False, True, False]),
        ("width = 10", [True, False, False]),
        ("width != 10", [False, True, True]),
        ("width in 9,10", [True, True, False]),
        ("host in a.org", [True, False, False]),
        ("host not in a.org", [False, True, True]),
        ("host = b.org", [False, True, False]),
        ("is_blank = true", [False, True, False]),
        ("is_blank != true", [True, False, True]),
    ],
)
def test_requirements_and_what_they_make_of_missing_values(rule, stays):
    block = rows(width=[10, 9, None], host=["a.org", "b.org", None], is_blank=[False, True, None])
    found, names = policy(require=[rule]).removed_for_itself(block)
    assert (found == -1).tolist() == stays
    assert {names[i] for i in found if i >= 0} <= {f"require {rule}"}


def test_the_first_requirement_not_met_is_told_and_a_status_goes_before_all():
    block = rows(width=[5, 5, 50], aesthetic=[1.0, 9.0, 1.0], status=["ok", "missing", "ok"])
    found, names = policy(require=["width >= 10", "aesthetic >= 2"]).removed_for_itself(block)
    assert [names[i] for i in found] == ["require width >= 10", "missing", "require aesthetic >= 2"]


def test_unusable_images_stay_if_asked_and_if_they_have_a_file():
    block = rows(status=["ok", *STATUS_RULES, "unreadable"], num_bytes=[9, 0, 9, 9, 9, 0])
    found, names = policy().removed_for_itself(block)
    assert [names[i] for i in found[1:]] == [*STATUS_RULES, "unreadable"]
    found, names = policy(unusable=True).removed_for_itself(block)
    assert [names[i] if i >= 0 else None for i in found] == [None, "missing", None, None, None, "unreadable"]


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ({"prefer": ["asthetic"]}, "Did you mean 'aesthetic'"),
        ({"require": ["heigth >= 3"]}, "heigth"),
        ({"prefer": ["host"]}, "host in A,B"),
        ({"prefer": ["width in 1,2"]}, "no text"),
        ({"prefer": ["odd"]}, "no order"),
        ({"require": ["odd = 1"]}, "cannot be compared"),
        ({"require": ["host >= 3"]}, "no number"),
        ({"require": ["width >= wide"]}, "no number"),
        ({"require": ["width >= nan"]}, "no number"),
        ({"require": ["is_blank = yes"]}, "true or false"),
    ],
)
def test_rules_that_do_not_fit_are_told(keep, said):
    with pytest.raises(ConfigError, match=said):
        policy(**keep)


def test_columns_that_are_read():
    chosen = policy(prefer=["aesthetic", "random 3"], require=["host != a.org", "width > 3"])
    assert chosen.image_columns == ["image_id", "status", "num_bytes", "host", "width"]
    assert {"group_id", "class", "aesthetic"} <= set(chosen.member_columns)
    assert "" not in chosen.member_columns


def test_random_is_of_id_and_seed_alone_and_even():
    ids = np.arange(20_000, dtype=np.int64) << 24
    one, two = hashed(ids, 1), hashed(ids, 2)
    assert np.array_equal(one, hashed(ids[::-1], 1)[::-1])
    assert len(np.unique(one)) == len(ids)
    assert ((one >= 0) & (one < 1)).all()
    assert abs(np.histogram(one, 10, (0, 1))[0] - 2000).max() < 200
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.03
