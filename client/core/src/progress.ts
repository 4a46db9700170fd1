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
	if (!task_id) {
		connection.progress(callback);
		return () => connection.off("progress", callback);
	}
	const on_task = (message: any) => {
		const progress = message?.task_id === task_id ? read_progress(message) : null;
		if (progress) callback(progress);
	};
	connection.on("task_progress", on_task);
	connection.task_subscribe(task_id);
	return () => {
		connection.off("task_progress", on_task);
		connection.task_unsubscribe(task_id);
	};
}
