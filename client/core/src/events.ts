// The events of Frappe's core, and of this client.

/** The status of a connection; `closed` after a disconnect by this page. */
export type Status = "connecting" | "connected" | "lost" | "closed";

/** A document was saved, to `doc_subscribe`. */
export interface DocUpdate {
	doctype: string;
	name: string;
	modified: string;
}

/**
 * A document of a DocType has changed, to `doctype_subscribe`; without `name` if the user may not read it, with `more` if more
 * documents have changed than are named.
 */
export interface ListUpdate {
	doctype: string;
	name?: string;
	user?: string;
	more?: true;
}

/** Who has a document open, to `doc_open`. */
export interface DocViewers {
	doctype: string;
	docname: string;
	users: string[];
}

/** A document was renamed, to `doc_subscribe` of the old name. */
export interface DocRename {
	doctype: string;
	old: string;
	new: string;
}

/** Progress of a Data Import, to the user who has started it. */
export interface DataImportProgress {
	data_import: string;
	current: number;
	total: number;
	/** The rows were imported before. */
	skipping?: true;
	/** A document was imported; the keys below come with it. */
	success?: true;
	docname?: string | number;
	row_indexes?: number[];
	/** Seconds. */
	eta?: number;
}

/** What `frappe.msgprint(…, realtime=True)` sends. */
export interface MessagePrint {
	message: string | string[] | string[][];
	title?: string;
	indicator?: string;
	alert?: boolean | 1;
	as_list?: boolean | 1;
	as_table?: boolean | 1;
	is_minimizable?: boolean;
	wide?: boolean;
	primary_action?: string | Record<string, any>;
	raise_exception?: 1;
}

/** A change of a Background Task of Frappe v17, to its user: with the new status, or with progress or stage. */
export interface TaskUpdate {
	task_id: string;
	task_name: string;
	status?: "Queued" | "Running" | "Completed" | "Failed" | "Cancelled";
	/** 0 to 100. */
	progress?: number;
	stage?: string;
}

/** A reply in a discussion of the website: the HTML that shows it. */
export interface DiscussionReply {
	template: string;
	sidebar: string;
	new_topic_template: string;
	reply_owner: string;
	topic_info: {
		name: string;
		title: string | null;
		owner: string;
		creation: string;
		reference_doctype: string | null;
		reference_docname: string | null;
	};
}

/** `bench watch` has built assets, or could not. */
export type BuildEvent =
	| { success: true; changed_files?: string[]; live_reload?: boolean }
	| { error: unknown; formatted: string[]; stack: string };

/** The message of an event without data: an empty object. */
export type NoMessage = Record<string, never>;

/** A handlers file does not load; to System Users, in developer mode only. */
export interface HandlersError {
	app: string;
	file: string;
	error: string;
	traceback: string;
}

/** A limit of the server is reached. */
export interface LimitReached {
	limit: string;
	most: number;
	message: string;
}

/** A message of `frappe.publish_progress`. */
export interface ProgressMessage {
	percent?: number | string;
	progress?: [number, number];
	title?: string;
	description?: string;
	doctype?: string;
	docname?: string;
	page?: string;
	task_id?: string;
}

/**
 * The listeners of events, by name.
 *
 * Apps add their own: `declare module "@frappe-realtime/core" { interface Events { order_ready(message: Order): void } }`.
 */
export interface Events {
	connect(): void;
	disconnect(reason: string): void;
	connect_error(error: Error & { data?: { code: string; reason: string } }): void;
	realtime_status(status: Status): void;
	realtime_missed(): void;
	pong(): void;
	limit_reached(message: LimitReached): void;
	realtime_handlers_error(message: HandlersError): void;
	doc_update(message: DocUpdate): void;
	doc_rename(message: DocRename): void;
	doc_viewers(message: DocViewers): void;
	docinfo_update(message: { doc: unknown; key: string; action: "add" | "update" | "delete" }): void;
	list_update(message: ListUpdate): void;
	doctype_update(message: { doctype: string }): void;
	progress(message: ProgressMessage): void;
	task_progress(message: any): void;
	task_update(message: TaskUpdate): void;
	[event: `task_complete:${string}`]: (message: { file_url: string }) => void;
	data_import_progress(message: DataImportProgress): void;
	data_import_refresh(message: { data_import: string }): void;
	report_generated(message: { report_name: string; name: string }): void;
	"recorder-analysis-complete"(message: NoMessage): void;
	msgprint(message: string | MessagePrint): void;
	notification(message: any): void;
	indicator_hide(message: NoMessage): void;
	update_user_permissions(message: NoMessage): void;
	"version-update"(message: NoMessage): void;
	publish_message(message: DiscussionReply): void;
	update_message(message: { reply_name: string; reply: string | null }): void;
	delete_message(message: { reply_name: string }): void;
	build_event(message: BuildEvent): void;
	/** What `publish_realtime` sends without the name of an event. */
	global(message: any): void;
}

/** The name of an event: one of `Events`, or any other. */
export type EventName = keyof Events | (string & {});

/** The listener of an event, as `Events` has it; that of another event may take anything. */
export type ListenerOf<E extends EventName> = E extends keyof Events ? Events[E] : (...args: any[]) => void;
