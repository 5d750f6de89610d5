"""Rates, each with where it comes from; the shipped ones stand in rates.yaml."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from importlib import resources
from typing import Any, Literal

Status = Literal["measured", "assumed", "given"]
"""``measured``: by a benchmark, on hardware of this kind. ``given``: by the user. ``assumed``: all else."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rate:
    """A number that a plan multiplies with.

    Attributes:
        name: its key in rates.yaml; of a rate that follows from others what it is.
        stage: the stage that it belongs to.
        value: in ``unit``. Of a measurement on several ``cores`` the rate of all of them together.
        source: for an assumed rate where it comes from; for a measured one what ran.
        file: in benchmarks/results/, for measured ones; ``key`` holds the number there.
        hardware: that a measurement was taken on; ``date`` when.
        model, cpu, image_bytes: what a measurement was taken with; empty or 0 where that does not matter.
    """

    name: str
    stage: str
    value: float
    unit: str
    status: Status
    source: str
    file: str = ""
    key: str = ""
    hardware: str = ""
    date: str = ""
    cores: int = 0
    model: str = ""
    cpu: str = ""
    image_bytes: int = 0

    def scaled(self, value: float, *, name: str, unit: str, rule: str) -> Rate:
        """Another rate that follows from this one by ``rule``: assumed, whatever this one is."""
        base = f"benchmarks/results/{self.file} ({self.hardware})" if self.status == "measured" else self.source
        return replace(
            self, name=name, value=value, unit=unit, status="assumed", source=f"{rule}; from {base}",
            file="", key="", hardware="", date="",
        )  # fmt: skip

    def origin(self) -> str:
        """One line: status, and the file with hardware and date, or the source."""
        if self.status == "measured":
            where = ", ".join(part for part in (self.hardware, self.date) if part)
            return f"measured: benchmarks/results/{self.file} ({where}; {self.source})"
        return f"{self.status}: {self.source}"

    def to_dict(self) -> dict[str, Any]:
        """What the JSON of a plan says of it."""
        facts: dict[str, Any] = {"value": self.value, "unit": self.unit, "status": self.status, "source": self.source}
        if self.status == "measured":
            facts |= {"file": self.file, "key": self.key, "hardware": self.hardware, "date": self.date}
        return facts


class Rates:
    """Rates by name. ``given`` replaces shipped ones by what the user knows better."""

    def __init__(self, rates: dict[str, Rate]) -> None:
        self._rates = rates

    def __getitem__(self, name: str) -> Rate:
        return self._rates[name]

    def __iter__(self) -> Iterator[Rate]:
        return iter(self._rates.values())

    def measured(self, prefix: str) -> list[Rate]:
        """Measured rates whose name starts with ``prefix``, as they stand in the file."""
        return [rate for rate in self if rate.name.startswith(prefix) and rate.status == "measured"]

    def given(self, **values: float | None) -> Rates:
        """With values of the user in place of shipped ones; None leaves a rate as it is."""
        flags = {name: value for name, value in values.items() if value is not None}
        changed = {
            name: replace(
                self[name], value=float(value), status="given", source="the command line", file="", key="", hardware="", date=""
            )
            for name, value in flags.items()
        }
        return Rates(self._rates | changed)


@cache
def shipped_rates() -> Rates:
    """Those of rates.yaml."""
    import yaml

    entries = yaml.safe_load((resources.files("scanner.plan") / "rates.yaml").read_text("utf-8"))
    return Rates({name: Rate(name=name, **{**entry, "date": str(entry.get("date", ""))}) for name, entry in entries.items()})
