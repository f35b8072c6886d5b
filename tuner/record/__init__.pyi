from .listener import Listener as Listener
from .record import Record as Record
