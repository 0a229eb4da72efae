"""Every source, by the name of its folder."""

from components.sources.austin import Austin
from components.sources.base import Source
from components.sources.breeds import Breeds
from components.sources.individuals import Individuals
from components.sources.stanford import Stanford
from components.sources.tsinghua import Tsinghua

_ALL: tuple[Source, ...] = (Stanford(), Tsinghua(), Austin(), Breeds(), Individuals())
SOURCES = {source.name: source for source in _ALL}
