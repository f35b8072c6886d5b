"""Ray: connection, nodes, trials, ASHA and the final. The only package that imports it."""
