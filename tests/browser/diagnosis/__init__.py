"""The browser says why its connection fails: the sign in the Desk, its details for System Managers, and `diagnose()`."""
