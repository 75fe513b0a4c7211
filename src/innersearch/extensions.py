"""What other packages add: engines, routers, policies and more, by entry points.

    [project.entry-points."innersearch.engines"]
    elastic = "my_package.elastic:KIND"

makes `elastic` a name that recipes and the command line take. Our own are named in the same way and come
first, so that no installed package can change what a recipe means.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from typing import Generic, TypeVar

from innersearch.errors import ConfigError, did_you_mean

T = TypeVar("T")


@dataclass(frozen=True)
class Offers(Generic[T]):
    """Everything of one sort that has a name: ours, and what installed packages add.

    >>> Offers("innersearch.numbers", int, "number", {"one": 1, "billion": "math:inf"}).find("one")
    1
    """

    group: str
    """Group of the entry points."""
    type: type[T]
    """What each of them must be."""
    what: str
    """What one is called in errors."""
    own: Mapping[str, T | str] = field(default_factory=dict)
    """Ours by name: the thing, or where it stands, `module:attribute`, if reading it takes long."""

    def names(self) -> list[str]:
        """All names, ours first."""
        return list(dict.fromkeys([*self.own, *sorted(entry.name for entry in self._entries())]))

    def find(self, name: str) -> T | None:
        """What has that name; None if nothing has.

        Raises:
            ConfigError: Several packages offer it, or what one offers cannot be loaded.
        """
        mine = self.own.get(name)
        if isinstance(mine, str):
            mine = metadata.EntryPoint(name, mine, self.group).load()
        if mine is not None:
            return mine
        found = [entry for entry in self._entries() if entry.name == name]
        if len({entry.value for entry in found}) > 1:
            places = ", ".join(sorted(entry.value for entry in found))
            raise ConfigError(
                f"several packages offer the {self.what} {name!r} ({places}): uninstall all but one"
            )
        return self._loaded(found[0]) if found else None

    def get(self, name: str) -> T:
        """What has that name.

        Raises:
            ConfigError: Nothing has, or as `find`.
        """
        found = self.find(name)
        if found is None:
            raise ConfigError(f"unknown {self.what} {name!r}; {did_you_mean(name, self.names())}")
        return found

    def _entries(self) -> metadata.EntryPoints:
        return metadata.entry_points(group=self.group)

    def _loaded(self, entry: metadata.EntryPoint) -> T:
        try:
            offered = entry.load()
        except (Exception, SystemExit) as error:
            raise ConfigError(
                f"the {self.what} {entry.name!r} cannot be loaded from {entry.value}: "
                f"{type(error).__name__}: {error}; mend or uninstall the package that offers it"
            ) from error
        if not isinstance(offered, self.type):
            raise ConfigError(
                f"the {self.what} {entry.name!r} at {entry.value} is of type {type(offered).__name__}: "
                f"its package must offer a {self.type.__name__}"
            )
        return offered
