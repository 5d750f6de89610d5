"""Waivers: what a team lets pass for a while, with the reason and the day on which that ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, field_validator

from scanner.core.errors import ConfigError, nearest
from scanner.core.section import Section

if TYPE_CHECKING:
    import pyarrow as pa

Status = Literal["active", "expired"]


class Waiver(Section):
    """One exception from a rule."""

    rule: str
    """Rule that it is an exception from."""
    where: dict[str, tuple[str, ...]] = Field(default={})
    """Violators that are let pass: values by column, such as ``group_id: [7, 19]``; all columns must fit. Left out: the whole
    rule."""
    reason: str = Field(min_length=1)
    """Why, for those who read it later."""
    expires: date
    """Last day on which it holds, as ``2027-03-31``, in UTC."""
    approved_by: str = ""
    """Who answers for it."""

    @field_validator("where", mode="before")
    @classmethod
    def _names_something(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        lists = {column: one if isinstance(one, list | tuple) else [one] for column, one in value.items()}
        if not lists or not all(lists.values()):
            raise ValueError("names no violator; leave `where` out to waive the whole rule")
        if any(one is None or isinstance(one, bool | dict | list) for values in lists.values() for one in values):
            raise ValueError("takes texts and numbers by column")
        return {column: [str(one) for one in values] for column, values in lists.items()}

    @field_validator("reason")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("says nothing")
        return value.strip()

    @property
    def is_of_whole_rule(self) -> bool:
        return not self.where

    def status(self, today: date) -> Status:
        return "active" if today <= self.expires else "expired"


class WaiverFile(Section):
    """A file of waivers alone."""

    waivers: tuple[Waiver, ...] = ()
    """The waivers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WaiverUse:
    """What became of a waiver in a check.

    Attributes:
        days_left: until it expires; below 0 since then.
        num_matched: violators that it names, whether it lets them pass or has expired; of one for a whole rule, all.
        is_used: there was something for it to let pass.
    """

    waiver: Waiver
    status: Status
    days_left: int
    num_matched: int
    is_used: bool

    def line(self) -> str:
        """As a person reads it; the waiver's own words last."""
        what = "the whole rule" if self.waiver.is_of_whole_rule else _names(self.waiver.where)
        if self.status == "expired":
            state = f"EXPIRED on {self.waiver.expires}, {_days(-self.days_left)} ago" + ("" if self.is_used else "; it can go")
        else:
            days = "today is the last day" if not self.days_left else f"{_days(self.days_left)} left"
            state = f"until {self.waiver.expires}, {days}" + ("" if self.is_used else "; it MATCHES NOTHING")
        who = f" ({self.waiver.approved_by})" if self.waiver.approved_by else ""
        return f"waiver of {what}: {state}: {self.waiver.reason}{who}"


def _days(number: int) -> str:
    return "1 day" if number == 1 else f"{number:,} days"


def _names(where: dict[str, tuple[str, ...]]) -> str:
    shown = 3
    pieces = []
    for column, values in where.items():
        more = f" and {len(values) - shown:,} more" if len(values) > shown else ""
        pieces.append(f"{column} {', '.join(values[:shown])}{more}")
    return "; ".join(pieces)


class RuleWaivers:
    """The waivers of one rule, held against its violators block by block."""

    def __init__(self, waivers: Sequence[Waiver], *, today: date, rule: str) -> None:
        self._waivers, self._today, self._rule = waivers, today, rule
        self._num_matched = [0] * len(waivers)

    @property
    def are_of_whole_rule(self) -> bool:
        """Whether the whole rule is let pass."""
        return any(waiver.is_of_whole_rule and waiver.status(self._today) == "active" for waiver in self._waivers)

    def kept(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rows that no active waiver lets pass.

        Raises:
            ConfigError: a waiver names a column that the rule does not give.
        """
        import pyarrow.compute as pc

        stays = None
        for place, waiver in enumerate(self._waivers):
            named = self._named(rows, waiver)
            self._num_matched[place] += pc.sum(named).as_py() or 0
            if waiver.status(self._today) == "active":
                stays = pc.invert(named) if stays is None else pc.and_(stays, pc.invert(named))
        return rows if stays is None else rows.filter(stays)

    def _named(self, rows: pa.RecordBatch, waiver: Waiver) -> pa.BooleanArray:
        """Which rows a waiver names; of one for a whole rule, all."""
        import pyarrow as pa
        import pyarrow.compute as pc

        named = pa.repeat(pa.scalar(True), rows.num_rows)
        for column, values in waiver.where.items():
            if column not in rows.schema.names:
                raise ConfigError(
                    f"A waiver of rule {self._rule} names column {column!r}, which its violators do not have.",
                    next_step=nearest(column, rows.schema.names),
                )
            try:
                texts = pc.cast(rows.column(column), pa.string())
            except pa.ArrowException:
                raise ConfigError(
                    f"A waiver of rule {self._rule} names column {column!r}, which holds neither texts nor numbers.",
                    next_step="Name another column, such as an id.",
                ) from None
            named = pc.and_(named, pc.is_in(texts, value_set=pa.array(values, pa.string())))
        return named

    def uses(self, *, is_unknown: bool) -> tuple[WaiverUse, ...]:
        """What became of each; ``is_unknown``: the rule could not tell, which is something for the whole rule to be waived."""
        return tuple(
            WaiverUse(
                waiver=waiver,
                status=waiver.status(self._today),
                days_left=(waiver.expires - self._today).days,
                num_matched=matched,
                is_used=matched > 0 or (waiver.is_of_whole_rule and is_unknown),
            )
            for waiver, matched in zip(self._waivers, self._num_matched, strict=True)
        )
