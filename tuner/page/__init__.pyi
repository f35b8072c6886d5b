from .live import serve as serve
from .page import ImportanceCache as ImportanceCache
from .page import write_report as write_report
