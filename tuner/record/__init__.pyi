from .listener import Follower as Follower
from .record import Record as Record
