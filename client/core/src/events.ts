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
	doc_update(message: DocUpdate): void;
	list_update(message: ListUpdate): void;
	doc_viewers(message: DocViewers): void;
	docinfo_update(message: { doc: unknown; key: string; action: "add" | "update" | "delete" }): void;
	progress(message: ProgressMessage): void;
	task_progress(message: any): void;
	msgprint(message: any): void;
	notification(message: any): void;
	limit_reached(message: LimitReached): void;
}

/** The name of an event: one of `Events`, or any other. */
export type EventName = keyof Events | (string & {});

/** The listener of an event, as `Events` has it; that of another event may take anything. */
export type ListenerOf<E extends EventName> = E extends keyof Events ? Events[E] : (...args: any[]) => void;
