// The bundle of the Desk page "Realtime", loaded by the page (frappe_realtime/page/realtime/realtime.js).

import { MonitorPage } from "./monitor/monitor_page.js";

frappe.provide("frappe.realtime_monitor");
frappe.realtime_monitor.open = (wrapper) => new MonitorPage(wrapper);
