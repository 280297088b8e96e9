"""What is wrong or questionable in a config, with file and line, before anything runs. No kernel file is imported.

places.py finds the line of a key and what YAML reads otherwise than it looks, rules.py judges what is declared, files.py says
which file is checked how, command.py is `aisp lint`.
"""
