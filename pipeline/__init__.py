"""The graph: settings, nodes, gates, runs. Nothing here touches a pixel or a weight."""
