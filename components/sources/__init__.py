"""The sources of photos. Each adapter says where its photos are; none of them keeps a pixel."""
