"""`aisp review`: what a change of configs means for what is measured, and whether it may go in without a word.

revision.py   the files of two revisions, or two folders
composed.py   what each workload amounts to in one of them, in a process of its own
code.py       whether a function of a kernel file does something else
changes.py    what differs, and which line set it
rules.py      in which direction
policy.py     how severe that is, and what has been waived: as the base revision says
findings.py   one finding for one cause, however many workloads it hits
report.py     for a terminal, a page, a workflow, a program
sarif.py      for code scanning
command.py    the command line
"""
