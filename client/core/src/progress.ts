// Progress without a framework: that of the work of this page, or of one background task.

import { read_progress, type Progress } from "./progress_message.js";
import type { Connection } from "./connection.js";

/**
 * Call `callback` with each progress of work that this page has started, or of one background task.
 *
 * @param task_id the background task; without it the work of this page (`frappe.publish_progress`)
 * @returns the function that ends this
 */
export function follow_progress(
	connection: Connection,
	task_id: string | null | undefined,
	callback: (progress: Progress) => void,
): () => void {
	const event = task_id ? "task_progress" : "progress";
	const listener = (message: any) => {
		if (task_id && message?.task_id !== task_id) return;
		const progress = read_progress(message);
		if (progress && (task_id || progress.is_here)) callback(progress);
	};
	connection.keep_listening(event, listener);
	if (task_id) connection.task_subscribe(task_id);
	return () => {
		connection.off(event, listener);
		if (task_id) connection.task_unsubscribe(task_id);
	};
}
