from .live import serve as serve
from .page import ImportanceCache as ImportanceCache
from .page import write_report as write_report
from .server_process import address_of as address_of
from .server_process import listen as listen
from .server_process import served as served
