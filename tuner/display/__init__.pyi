from .console import PrintableConsole as PrintableConsole
from .lines import Display as Display
from .lines import LogFile as LogFile
from .progress import acknowledging as acknowledging
from .progress import counting as counting
from .progress import working as working
