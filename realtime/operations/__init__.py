"""Health, metrics, and the command-line tools for operators: doctor, listen and publish."""
