"use strict";
// The command line: node main.js CHANNEL_FD ACTIVITY_FD WEB_URL LATENCY_BOUNDS NUMBER
//
// CHANNEL_FD is the open socket to the sidecar. ACTIVITY_FD is an open file; the sidecar reads in it which handler was begun
// last, should this process hang. WEB_URL is the address of Frappe's web process. LATENCY_BOUNDS are the upper bounds of the
// buckets of a latency, in seconds with commas between them. NUMBER is different for each process of one sidecar.

const [channel_fd, activity_fd, web_url, bounds, number] = process.argv.slice(2);

module.exports = {
	channel_fd: Number(channel_fd),
	activity_fd: Number(activity_fd),
	web_url,
	latency_bounds: bounds.split(",").map(Number),
	number: Number(number),
};
