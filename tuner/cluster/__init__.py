"""Ray: connection, nodes, trials, ASHA and the final. The only package that imports Ray.

The names that other packages use stand in ``__init__.pyi``; each is imported when it is first used.
"""

import lazy_loader

from tuner.cluster.environment import set_defaults

set_defaults()  # before any module of this package imports Ray, which reads them then

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
