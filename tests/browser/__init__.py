"""The browser client and the Desk's binding, in Chromium against the real sidecar."""
