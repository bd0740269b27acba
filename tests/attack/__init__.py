"""Attacks on the project, with fixed seeds: damaged files, hostile arguments, processes that are killed.

``test_mutated_files``  Every kind of file that the core writes or reads is changed at random. What is read then is the
                        same bits as before, or the answer is one sentence and a non-zero exit; no result is lost.
``test_command_line``   ``ulpm`` with random and hostile options: an exit status and one sentence, never a traceback.
``test_library``        Public functions with hostile arguments: TypeError, ValueError, OSError or ImportError with one
                        sentence, never another exception.
``test_kills``          A running ``ulpm flow`` is killed, or gets a signal, at random moments: it resumes bit for bit.

Small sizes run in ``make test``; those marked slow in ``make test-all``: 1,000 mutations of each kind of file, 500
command lines, 1,000 calls, 100 kills, 50 signals. A case is named by its seed: to see it again, run its test with
``-k`` and the number of the seed.
"""
