"""Every source, by the name of its folder."""

from components.sources.base import Source
from components.sources.individuals import Individuals
from components.sources.stanford import Stanford

_ALL: tuple[Source, ...] = (Stanford(), Individuals())
SOURCES = {source.name: source for source in _ALL}
