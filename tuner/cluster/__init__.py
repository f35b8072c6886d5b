"""Ray: connection, nodes, trials, ASHA and the final. The only package that imports Ray."""

from tuner.cluster.environment import set_defaults

set_defaults()  # before any module of this package imports Ray, which reads them then
