// What Frappe loads into the Desk and into website pages, after its own bundle.
//
// `bench build` makes one classic script of it, which has run when `frappe.realtime.init()` is called, and whose
// name carries a hash: the proxy lets browsers keep files of /assets for a year.

import "./desk.js";
