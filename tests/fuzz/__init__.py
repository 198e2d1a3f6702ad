"""Coverage-guided fuzzing of everything that reads untrusted bytes: `python -m tests.fuzz --help`.

A target is a module of `targets`. Its seeds are in `seeds/TARGET/`, and words that help it in `dictionaries/`.
"""
