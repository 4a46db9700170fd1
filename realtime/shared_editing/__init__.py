"""Shared editing: Yjs documents that several clients change at once. The sidecar passes binary changes on, by permission."""
