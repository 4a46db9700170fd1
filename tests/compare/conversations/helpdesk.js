"use strict";
// Two agents view one ticket of Helpdesk, one of them in two tabs.

module.exports = async ({ connect, settle }) => {
	const ann = await connect("ann");
	const ben = await connect("ben");
	ann.emit("ping");
	await settle();
	ben.emit("helpdesk_ticket_typing", "1");
	ann.emit("view_ticket", "1");
	await settle();
	ben.emit("view_ticket", "1");
	await settle();
	const tab = await connect("ben");
	tab.emit("view_ticket", "1");
	await settle();
	ann.emit("notify_ticket_update", "1", "status", "Closed");
	await settle();
	ann.emit("notify_ticket_update", "1", "count", { deep: [1, null, "ü€"] });
	ann.emit("notify_ticket_update", "1", "nothing");
	ann.emit("notify_ticket_update", "1");
	await settle();
	ben.emit("helpdesk_ticket_typing", "1");
	await settle();
	ben.emit("helpdesk_ticket_typing_stopped", "1");
	await settle();
	ann.emit("ticket_get_viewers", "1");
	await settle();
	ben.emit("stop_view_ticket", "1");
	await settle();
	tab.disconnect();
	await settle();
	ann.emit("ticket_get_viewers", "1");
	ann.emit("view_ticket");
	await settle();
	ann.emit("stop_view_ticket", "1");
	await settle();
};
