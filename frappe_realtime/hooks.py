"""The hooks of this app, read by Frappe."""

app_name = "frappe_realtime"
app_title = "Frappe Realtime"
app_publisher = "The frappe_realtime authors"
app_description = "The realtime server for Frappe sites, in Python"
app_license = "mit"

# A bundle: a classic script, which has run before the Desk connects, with a hash of its content in its name.
app_include_js = ["frappe_realtime.bundle.js"]
web_include_js = ["frappe_realtime.bundle.js"]
extend_bootinfo = ["frappe_realtime.boot.extend_bootinfo"]
update_website_context = ["frappe_realtime.boot.update_website_context"]

after_install = "frappe_realtime.install.after_install"
after_uninstall = "frappe_realtime.install.after_uninstall"

# Publishing: overrides of Frappe's functions in every process that serves a site with this app.
before_request = ["frappe_realtime.overrides.install_overrides"]
before_job = [
	"frappe_realtime.overrides.install_overrides",
	"frappe_realtime.publishing.tasks.before_job",
]
after_job = ["frappe_realtime.publishing.jobs.flush_after_job"]

# Endpoints for the sidecar. Frappe exempts paths under /api/method/frappe.realtime. from a user's IP restriction.
override_whitelisted_methods = {
	"frappe.realtime.get_user_info": "frappe_realtime.permissions.endpoints.get_user_info",
	"frappe.realtime.has_permission": "frappe_realtime.permissions.endpoints.has_permission",
	"frappe.realtime.has_permissions": "frappe_realtime.permissions.endpoints.has_permissions",
	"frappe.realtime.publish_probe": "frappe_realtime.permissions.endpoints.publish_probe",
	"frappe.realtime.readers": "frappe_realtime.permissions.endpoints.readers",
	"frappe.realtime.shared_load": "frappe_realtime.permissions.shared_documents.shared_load",
	"frappe.realtime.shared_store": "frappe_realtime.permissions.shared_documents.shared_store",
	"frappe.realtime.users_changed": "frappe_realtime.permissions.endpoints.users_changed",
	"frappe.realtime.can_monitor": "frappe_realtime.permissions.endpoints.can_monitor",
}

# Changes of access, announced to the sidecar. Frappe runs `on_change` after each save and after `db_set`; `on_update` not after `db_set`.
after_request = ["frappe_realtime.permissions.access_events.after_request"]
clear_cache = ["frappe_realtime.permissions.access_events.on_clear_cache"]
website_clear_cache = ["frappe_realtime.permissions.access_events.on_clear_website_cache"]
after_app_uninstall = ["frappe_realtime.permissions.access_events.after_app_uninstall"]
doc_events = {
	"*": {
		"on_change": "frappe_realtime.permissions.access_events.on_change",
		"after_delete": "frappe_realtime.permissions.access_events.on_delete",
		"after_rename": "frappe_realtime.permissions.access_events.on_rename",
	},
	"User": {
		"on_change": "frappe_realtime.permissions.access_events.on_user_change",
		"after_delete": "frappe_realtime.permissions.access_events.on_user_change",
		"after_rename": "frappe_realtime.permissions.access_events.on_user_rename",
	},
	"User Permission": {
		"on_change": "frappe_realtime.permissions.access_events.on_user_permission_change",
		"on_trash": "frappe_realtime.permissions.access_events.on_user_permission_change",
	},
	"DocShare": {
		"on_change": "frappe_realtime.permissions.access_events.on_share_change",
		"on_trash": "frappe_realtime.permissions.access_events.on_share_change",
	},
	"OAuth Bearer Token": {
		"on_change": "frappe_realtime.permissions.access_events.on_token_change",
		"on_trash": "frappe_realtime.permissions.access_events.on_token_change",
	},
	"Role": {
		"on_change": "frappe_realtime.permissions.access_events.on_role_change",
		"on_trash": "frappe_realtime.permissions.access_events.on_role_change",
	},
	"System Settings": {
		"on_change": "frappe_realtime.permissions.access_events.on_system_settings_change",
	},
	"Custom DocPerm": {
		"on_change": "frappe_realtime.permissions.access_events.on_permission_rule_change",
		"on_trash": "frappe_realtime.permissions.access_events.on_permission_rule_change",
	},
}
