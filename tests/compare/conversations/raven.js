"use strict";
// Two users type in a channel of Raven that both have open.

module.exports = async ({ connect, settle }) => {
	const ann = await connect("ann");
	const ben = await connect("ben");
	ann.emit("fire");
	await settle();
	for (const user of [ann, ben]) {
		user.emit("doc_open", "Raven Channel", "general");
		await settle();
		user.emit("raven_channel_get_typers", "general");
		await settle();
	}
	ann.emit("raven_channel_typing", "general");
	await settle();
	ben.emit("raven_channel_typing", "general");
	await settle();
	ben.emit("raven_channel_get_typers", "general");
	await settle();
	ann.emit("raven_channel_typing_stopped", "general");
	ann.emit("raven_channel_typing", "general");
	ann.emit("raven_channel_typing_stopped", "general");
	await settle();
	ann.emit("raven_channel_typing");
	ben.disconnect();
	await settle();
	ann.emit("raven_channel_get_typers", "general");
	await settle();
};
