// What the events of the core have as messages. This is not run: the type checker reads it.

import type { Connection, DataImportProgress, DocUpdate, EventName, ListenerOf, TaskUpdate } from "@frappe-realtime/core";

/** Passes only if the arguments of an event have exactly these types. */
function has<E extends EventName, A extends any[]>(_: Same<Parameters<ListenerOf<E>>, A>): void {}

type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;

has<"doc_update", [message: DocUpdate]>(true);
has<"doc_rename", [message: { doctype: string; old: string; new: string }]>(true);
has<"doctype_update", [message: { doctype: string }]>(true);
has<"data_import_refresh", [message: { data_import: string }]>(true);
has<"data_import_progress", [message: DataImportProgress]>(true);
has<"report_generated", [message: { report_name: string; name: string }]>(true);
has<"task_update", [message: TaskUpdate]>(true);
has<"task_complete:job-1", [message: { file_url: string }]>(true);
has<"delete_message", [message: { reply_name: string }]>(true);
has<"update_message", [message: { reply_name: string; reply: string | null }]>(true);
has<"realtime_handlers_error", [message: { app: string; file: string; error: string; traceback: string }]>(true);
has<"version-update", [message: Record<string, never>]>(true);
has<"indicator_hide", [message: Record<string, never>]>(true);
has<"update_user_permissions", [message: Record<string, never>]>(true);
has<"recorder-analysis-complete", [message: Record<string, never>]>(true);
has<"pong", []>(true);
// Those of an app, which `Events` does not have.
has<"order_ready", any[]>(true);

export function listen(connection: Connection, task: string): void {
	connection.on(`task_complete:${task}`, ({ file_url }) => file_url.length);
	connection.on("msgprint", (message) => {
		const text: string | string[] | string[][] = typeof message === "string" ? message : message.message;
		return text.length;
	});
	connection.on("build_event", (message) => ("success" in message ? message.changed_files?.length : message.formatted.length));
	connection.on("publish_message", ({ topic_info, reply_owner }) => topic_info.name + reply_owner);
	// @ts-expect-error a message of `doc_rename` has `old` and `new`
	connection.on("doc_rename", ({ name }) => name);
	// @ts-expect-error there is no message
	connection.on("pong", (message: string) => message);
}
