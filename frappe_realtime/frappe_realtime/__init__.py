"""The module of this app in Frappe's sense (modules.txt): its Desk pages."""
