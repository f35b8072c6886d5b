from .places import RunLinks as RunLinks
from .places import read_run_links as read_run_links
from .store import prepare_store as prepare_store
from .tracker import Tracker as Tracker
from .tracker import kept_files as kept_files
from .tracker import kept_generator as kept_generator
from .values import reported_ms as reported_ms
