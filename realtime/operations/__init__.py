"""For who runs a bench: health, metrics, the doctor, and publishing from the command line."""
