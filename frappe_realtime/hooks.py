"""What Frappe is told about this app."""

app_name = "frappe_realtime"
app_title = "Frappe Realtime"
app_publisher = "The frappe_realtime authors"
app_description = "The realtime server for Frappe sites, in Python"
app_license = "mit"

# A bundle, so that it has run when the Desk starts its connection, and that its name changes with its content.
app_include_js = ["frappe_realtime.bundle.js"]
web_include_js = ["frappe_realtime.bundle.js"]
extend_bootinfo = ["frappe_realtime.boot.extend_bootinfo"]
update_website_context = ["frappe_realtime.boot.update_website_context"]

after_install = "frappe_realtime.install.after_install"
after_uninstall = "frappe_realtime.install.after_uninstall"

# Publishing: ours in the place of Frappe's, in every process that meets a site with this app.
before_request = ["frappe_realtime.publishing.overrides.take_over"]
before_job = ["frappe_realtime.publishing.overrides.take_over", "frappe_realtime.publishing.tasks.before_job"]
after_job = ["frappe_realtime.publishing.overrides.flush_after_job"]

# All of them lie under /api/method/frappe.realtime., which Frappe exempts from a user's IP restriction.
override_whitelisted_methods = {
	"frappe.realtime.get_user_info": "frappe_realtime.permissions.endpoints.get_user_info",
	"frappe.realtime.has_permission": "frappe_realtime.permissions.endpoints.has_permission",
	"frappe.realtime.has_permissions": "frappe_realtime.permissions.endpoints.has_permissions",
	"frappe.realtime.readers": "frappe_realtime.permissions.endpoints.readers",
}

# Access that ends: the sidecar is told (see access.py for what it is told).
after_request = ["frappe_realtime.permissions.access_events.after_request"]
clear_cache = ["frappe_realtime.permissions.access_events.on_clear_cache"]
doc_events = {
	"*": {
		"after_delete": "frappe_realtime.permissions.access_events.on_delete",
		"after_rename": "frappe_realtime.permissions.access_events.on_rename",
	},
	"User": {
		"on_update": "frappe_realtime.permissions.access_events.on_user_change",
		"after_delete": "frappe_realtime.permissions.access_events.on_user_change",
		"after_rename": "frappe_realtime.permissions.access_events.on_user_rename",
	},
	"User Permission": {
		"on_update": "frappe_realtime.permissions.access_events.on_user_permission_change",
		"on_trash": "frappe_realtime.permissions.access_events.on_user_permission_change",
	},
	"DocShare": {
		"on_update": "frappe_realtime.permissions.access_events.on_share_change",
		"on_trash": "frappe_realtime.permissions.access_events.on_share_change",
	},
	"OAuth Bearer Token": {
		"on_update": "frappe_realtime.permissions.access_events.on_token_change",
		"on_trash": "frappe_realtime.permissions.access_events.on_token_change",
	},
	"Role": {
		"on_update": "frappe_realtime.permissions.access_events.on_role_change",
		"on_trash": "frappe_realtime.permissions.access_events.on_role_change",
	},
	"Custom DocPerm": {
		"on_update": "frappe_realtime.permissions.access_events.on_permission_rule_change",
		"on_trash": "frappe_realtime.permissions.access_events.on_permission_rule_change",
	},
}
