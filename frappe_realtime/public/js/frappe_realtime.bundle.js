// The bundle that Frappe loads into the Desk and into website pages, after its own bundle.
//
// `bench build` makes one classic script of it, which has run when `frappe.realtime.init()` is called. Its name contains a
// hash of its content, because nginx lets browsers cache the files of /assets for a year.

import "./desk.js";
