"""The checker of signatures that the tests switch on: beartype, with an int allowed where a float is asked for.

That is what static checkers allow as well (the numeric tower of PEP 484).
"""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
