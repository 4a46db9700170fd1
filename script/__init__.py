"""The Python code of the scripts in this folder; tests import it."""
