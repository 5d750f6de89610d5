"""What every section of a config or a policy is: frozen, without unknown keys, each key documented below it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from scanner.core.errors import ConfigError, nearest


class Section(BaseModel):
    """Base of all sections."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, use_attribute_docstrings=True)


S = TypeVar("S", bound=Section)


def checked(section: type[S], data: Mapping[str, Any], *, where: str, page: str) -> S:
    """A section of plain data.

    Args:
        where: what the data came from, for errors.
        page: of the documentation, which lists the keys.

    Raises:
        ConfigError: names the key, what was found, and the nearest known key.
    """
    try:
        return section.model_validate(dict(data))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        path = ".".join(str(step) for step in first["loc"]) or "config"
        if first["type"] == "extra_forbidden":
            raise ConfigError(
                f"{where}: unknown key {path!r}.", next_step=nearest(str(first["loc"][-1]), _keys_beside(section, first["loc"]))
            ) from None
        found = first.get("input")
        shown = f" (found {found!r})" if not isinstance(found, dict | BaseModel) else ""
        raise ConfigError(
            f"{where}: {path}: {first['msg']}{shown}.", next_step=f"docs/{page} lists every key and its range."
        ) from None


def _keys_beside(section: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """Known keys of the section in which the last step of ``path`` stands."""
    is_name = False
    for step in path[:-1]:
        if isinstance(step, int) or is_name:
            is_name = False
            continue
        annotation = section.model_fields[str(step)].annotation
        # The next step of a mapping of sections is the name that the user gave to one of them.
        is_name = get_origin(annotation) is dict
        inner = [annotation, *get_args(annotation)]
        section = next((a for a in inner if isinstance(a, type) and issubclass(a, BaseModel)), section)
    return list(section.model_fields)
