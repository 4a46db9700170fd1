"""Monitoring: what System Managers see of their site."""
