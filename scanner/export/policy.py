"""A keep policy against the columns of a run: which it looks at, what each rule is called, and rules as numbers.

A preference becomes a number a row, higher first; a requirement a yes or no. Both are pure functions of a block of rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from scanner.core.errors import ConfigError, nearest
from scanner.core.keep_config import KeepConfig
from scanner.core.keep_rules import DEFAULT_PREFERENCES, Preference, Requirement, parse_preference, parse_requirement

if TYPE_CHECKING:
    import pyarrow as pa

ColumnKind = Literal["number", "boolean", "text", "other"]

LOWEST_ID = "lowest_id"
WEIGHTS = "weights"
STATUS_RULES = ("missing", "unreadable", "too_small", "too_large")
"""Of images that could not be used: the rule is called as their status is."""

_ALWAYS_READ = ("image_id", "status", "num_bytes")
_GROUP_COLUMNS = ("group_id", "is_representative", "kind", "class", "similarity_to_representative")


@dataclass(frozen=True, kw_only=True, slots=True)
class Policy:
    """The rules of a config, checked.

    Attributes:
        preferences: in order; ties go to the lowest id.
        is_default: they put the group's representative first; what is told of a decision is why it is the representative.
    """

    config: KeepConfig
    preferences: tuple[Preference, ...]
    requirements: tuple[Requirement, ...]
    is_default: bool

    @classmethod
    def of(cls, config: KeepConfig, columns: Mapping[str, ColumnKind]) -> Policy:
        """Raises ConfigError for a rule that names a column that is not there, or one that it does not fit."""
        preferences = tuple(map(parse_preference, config.prefer))
        requirements = tuple(map(parse_requirement, config.require))
        for preference in preferences:
            if preference.order != "random":
                _check_preference(preference, _kind(preference.column, columns, preference.text))
        for requirement in requirements:
            _check_requirement(requirement, _kind(requirement.column, columns, requirement.text))
        return cls(
            config=config, preferences=preferences or DEFAULT_PREFERENCES, requirements=requirements, is_default=not preferences
        )

    @property
    def image_columns(self) -> list[str]:
        """What is read of every image."""
        return _each_once([*_ALWAYS_READ, *(rule.column for rule in self.requirements)])

    @property
    def member_columns(self) -> list[str]:
        """What is read of the members of groups."""
        preferred = [rule.column for rule in self.preferences if rule.order != "random"]
        return _each_once([*self.image_columns, *_GROUP_COLUMNS, *preferred])

    def scores(self, rows: pa.Table) -> NDArray[np.float64]:
        """(n, preferences), higher first; minus infinity where a value is missing."""
        columns = [_score(rule, rows) for rule in self.preferences]
        return np.stack(columns, axis=1) if columns else np.zeros((rows.num_rows, 0))

    def removed_for_itself(self, rows: pa.Table) -> tuple[NDArray[np.int64], list[str]]:
        """For each row the place of its rule in the list of names that comes with it; -1 where the image may stay.

        What has no file always goes; what could not be used goes unless ``unusable``; then the first requirement not met.
        """
        import pyarrow.compute as pc

        has_file = rows["num_bytes"].to_numpy() > 0
        names = [*STATUS_RULES, *(f"require {rule.text}" for rule in self.requirements)]
        found = np.full(rows.num_rows, -1, np.int64)
        for i, rule in reversed(list(enumerate(self.requirements))):
            found[~_is_met(rule, rows)] = len(STATUS_RULES) + i
        for i, status in enumerate(STATUS_RULES):
            has_status = _as_bool(pc.equal(rows["status"], status))
            found[has_status & ~has_file if self.config.unusable else has_status] = i
        return found, names


def _each_once(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _kind(column: str, columns: Mapping[str, ColumnKind], rule: str) -> ColumnKind:
    if column not in columns:
        raise ConfigError(f"The rule {rule!r} names no column of the run: {column!r}.", next_step=nearest(column, list(columns)))
    return columns[column]


def _check_preference(rule: Preference, kind: ColumnKind) -> None:
    if kind == "other":
        raise ConfigError(
            f"{rule.column!r} of {rule.text!r} can be put in no order.", next_step="Name a number, text or boolean."
        )
    if kind == "text" and rule.order != "in":
        raise ConfigError(
            f"{rule.column!r} is text, of which none is more than another.", next_step=f"Write `{rule.column} in A,B`."
        )
    if kind != "text" and rule.order == "in":
        raise ConfigError(
            f"{rule.text!r}: {rule.column!r} is no text.", next_step=f"Write `{rule.column}` or `{rule.column} asc`."
        )


def _check_requirement(rule: Requirement, kind: ColumnKind) -> None:
    if kind == "other":
        raise ConfigError(f"{rule.column!r} of {rule.text!r} cannot be compared.", next_step="Name a number, text or boolean.")
    if kind != "number" and rule.sign in (">=", "<=", ">", "<"):
        raise ConfigError(f"{rule.text!r}: {rule.column!r} is no number.", next_step=f"Write `{rule.column} = …` or `in`.")
    if kind == "number":
        for value in rule.values:
            _number(value, rule)
    if kind == "boolean" and any(value.lower() not in ("true", "false") for value in rule.values):
        raise ConfigError(f"{rule.text!r}: {rule.column!r} is true or false.", next_step=f"Write `{rule.column} = true`.")


def _number(text: str, rule: Requirement) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if np.isnan(value):
        raise ConfigError(f"{rule.text!r}: {text!r} is no number.", next_step=f"Write `{rule.column} {rule.sign} 256`.") from None
    return value


def _score(rule: Preference, rows: pa.Table) -> NDArray[np.float64]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if rule.order == "random":
        return hashed(rows["image_id"].to_numpy(), rule.seed)
    column = rows[rule.column]
    if rule.order == "in":
        # Of a missing value is_in says false, as of any other that is not listed.
        listed = pc.is_in(column.cast(pa.string()), value_set=pa.array(rule.values, pa.string()))
        return _as_bool(listed).astype(np.float64)
    values = _numbers(column)
    return np.where(np.isnan(values), -np.inf, -values if rule.order == "asc" else values)


def _is_met(rule: Requirement, rows: pa.Table) -> NDArray[np.bool_]:
    import pyarrow as pa
    import pyarrow.compute as pc

    column = rows[rule.column]
    is_negative = rule.sign in ("!=", "not in")
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or pa.types.is_dictionary(column.type):
        found = _as_bool(pc.is_in(column.cast(pa.string()), value_set=pa.array(rule.values, pa.string())))
        return ~found if is_negative else found
    values = _numbers(column)
    if pa.types.is_boolean(column.type):
        wanted = [1.0 if value.lower() == "true" else 0.0 for value in rule.values]
    else:
        wanted = [_number(value, rule) for value in rule.values]
    if rule.sign in ("=", "!=", "in", "not in"):
        found = np.isin(values, wanted)
        return ~found if is_negative else found
    # A missing value is NaN, which is neither more nor less than anything.
    compare = {">=": np.greater_equal, "<=": np.less_equal, ">": np.greater, "<": np.less}[rule.sign]
    met: NDArray[np.bool_] = compare(values, wanted[0])
    return met


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """As float64, NaN where missing. Whole numbers above 2^53 lose their last digits."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_boolean(column.type):
        column = pc.cast(column, pa.int8())
    values: NDArray[np.float64] = pc.cast(column, pa.float64(), safe=False).to_numpy()
    return values


def _as_bool(column: pa.ChunkedArray) -> NDArray[np.bool_]:
    import pyarrow.compute as pc

    values: NDArray[np.bool_] = pc.fill_null(column, False).to_numpy().astype(bool)
    return values


def hashed(image_id: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """A number in [0, 1) of each id: SplitMix64 (Steele, Lea and Flood, OOPSLA 2014) of id and seed, its upper 53 bits."""
    with np.errstate(over="ignore"):
        z = image_id.astype(np.uint64) + np.uint64(seed + 1) * np.uint64(0x9E3779B97F4A7C15)
        for _ in range(2):
            z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            z = z ^ (z >> np.uint64(31))
    scaled: NDArray[np.float64] = (z >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return scaled
