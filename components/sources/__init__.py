"""The sources of photos. Each adapter says where its photos are; none of them keeps a pixel."""

from components.sources.base import Source
from components.sources.individuals import Individuals
from components.sources.stanford import Stanford

_ALL: tuple[Source, ...] = (Stanford(), Individuals())
SOURCES = {source.name: source for source in _ALL}
