"use strict";
// Runs the handlers.js files of apps for the sidecar; started by realtime/javascript/node_process.py.

const log = require("./log");
const { channel_fd, latency_bounds, number, web_url } = require("./process_arguments");
const { Runtime } = require("./runtime");

log.install();
// A terminal's Ctrl-C and a process manager's signal reach the whole process group. The sidecar decides when to stop, and
// this process exits when the channel is closed.
process.on("SIGINT", () => {});
process.on("SIGTERM", () => {});
module.exports = new Runtime(channel_fd, web_url, latency_bounds, number);
