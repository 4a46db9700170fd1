// Built by client/build_assets.mjs from client/core/src/progress_message.ts: change that file.

// What a message about progress says, and which page shows it.
import { page_id } from "./page.js?v=fccc9a93854c";
/**
 * @typedef {object} Progress
 * @property {number} percent 0 to 100
 * @property {string} [title]
 * @property {string} [description]
 * @property {boolean} is_here whether this is the page that should show it
 */
/**
 * Read a message of the event `progress`.
 *
 * The page that started the work shows it. If the message does not name that page, the visible page does.
 *
 * @param {object} message with `percent`, or with `progress: [done, total]`
 * @returns {Progress | null} null if the message has neither
 */
export function read_progress(message) {
	const { percent, progress, page: page_of, title, description } = message ?? {};
	const share = progress ? (progress[1] > 0 ? (100 * progress[0]) / progress[1] : 100) : parseFloat(percent);
	if (!Number.isFinite(share))
		return null;
	return {
		// Rounded, because a sum of many steps may end just below 100.
		percent: Math.min(Math.max(Math.round(share * 100) / 100, 0), 100),
		title,
		description,
		is_here: page_of ? page_of === page_id : globalThis.document?.visibilityState === "visible",
	};
}
