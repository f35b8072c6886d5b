from .page import KnownImportances as KnownImportances
from .page import write_report as write_report
