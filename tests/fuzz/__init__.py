"""Damaged files in great number, fed to everything of this package that reads files of others.

    python -m tests.fuzz --count 20000              # each target; from the checkout's root
    python -m tests.fuzz pictures --count 100 --seed 7
    python -m tests.fuzz pictures --seed 7 --case 41 --keep FOLDER   # that one again

A case is a good file, damaged in one to four places (`mutate`), and what a target makes of it
(`targets`): either an error of ours, or an answer that holds what can be known of it. Cases run in
a child process (`runner`) that may take 1 GB and 5 seconds for each.
"""
