// The Desk page "Realtime". Browsers keep this script in localStorage, so it only loads the bundle, which has a hash in its name.

frappe.pages["realtime"].on_page_load = (wrapper) => {
	frappe.ui.make_app_page({ parent: wrapper, title: __("Realtime"), single_column: true });
	frappe.breadcrumbs.add("Setup");
	frappe
		.require(["realtime_monitor.bundle.css", "realtime_monitor.bundle.js"])
		.then(() => frappe.realtime_monitor.open(wrapper));
};
