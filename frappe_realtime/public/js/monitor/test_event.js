// Sends an event to the user's own sockets through Frappe, and measures how long it takes to arrive.

export const TEST_EVENT = "frappe_realtime:test";

const METHOD = "frappe_realtime.monitor.send_test_event";

// Milliseconds after the web process has published the event.
const ARRIVES_WITHIN = 10_000;

/**
 * Send a test event and wait for it.
 *
 * @param {object} realtime `frappe.realtime`
 * @returns {Promise<number | null>} milliseconds from the request until the event arrives; null if it does not arrive
 * @throws the request failed; the Desk has shown the reason
 */
export async function send_test_event(realtime) {
	const id = frappe.utils.get_random(10);
	const started = performance.now();
	let listener;
	const arrived = new Promise((resolve) => {
		listener = (message) => {
			if (message?.id === id) resolve(performance.now() - started);
		};
		realtime.on(TEST_EVENT, listener);
	});
	try {
		await frappe.xcall(METHOD, { id });
		return await Promise.race([arrived, after(ARRIVES_WITHIN)]);
	} finally {
		realtime.off(TEST_EVENT, listener);
	}
}

function after(delay) {
	return new Promise((resolve) => setTimeout(() => resolve(null), delay));
}
