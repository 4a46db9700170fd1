// Realtime for React: hooks over one connection, which the provider holds.

import { createContext, useCallback, useContext, useEffect, useRef, useState, useSyncExternalStore, type ReactNode } from "react";

import {
	follow,
	follow_progress,
	here,
	known_place,
	lazy_connection,
	live_doc,
	live_list,
	STATUS_EVENT,
	type Connection,
	type ConnectOptions,
	type EventName,
	type FollowOptions,
	type HereSnapshot,
	type LazyConnection,
	type ListenerOf,
	type ListQuery,
	type Live,
	type LiveState,
	type MaybePlace,
	type Progress,
	type Snapshot,
	type Status,
	type Target,
} from "@frappe-realtime/core";

const Context = /* @__PURE__ */ createContext<LazyConnection | null>(null);

export interface RealtimeProviderProps {
	/** The options of `connect`, or a connection that exists. They are read once. */
	options?: ConnectOptions | Connection;
	children?: ReactNode;
}

/**
 * Holds the connection of the hooks below it.
 *
 * The connection is opened when the first component that uses it is mounted, so that a server can render pages.
 */
export function RealtimeProvider({ options, children }: RealtimeProviderProps) {
	const [lazy] = useState(() => lazy_connection(options));
	useEffect(() => () => lazy.close(), [lazy]);
	return <Context.Provider value={lazy}>{children}</Context.Provider>;
}

export interface Realtime {
	/** The connection; null while a server renders the page, and before the component is mounted. */
	connection: Connection | null;
	status: Status;
	emit(event: string, ...args: any[]): void;
	emitWithAck<T = any>(event: string, ...args: any[]): Promise<T>;
}

/** The connection of the provider, and its status. */
export function useRealtime(): Realtime {
	const lazy = use_lazy();
	const [connection, set_connection] = useState<Connection | null>(null);
	useEffect(() => {
		set_connection(lazy.get());
		return () => set_connection(null);
	}, [lazy]);
	const status = useSyncExternalStore(
		useCallback(
			(listener) => {
				connection?.keep_listening(STATUS_EVENT, listener);
				return () => connection?.off(STATUS_EVENT, listener);
			},
			[connection],
		),
		(): Status => connection?.status ?? "connecting",
		(): Status => "connecting",
	);
	const emit = useCallback((event: string, ...args: any[]) => lazy.latest().emit(event, ...args), [lazy]);
	const emitWithAck = useCallback((event: string, ...args: any[]) => lazy.latest().emitWithAck(event, ...args), [lazy]);
	return { connection, status, emit, emitWithAck };
}

/** Listen to an event while the component exists; the newest `callback` is called. */
export function useEvent<E extends EventName>(event: E, callback: ListenerOf<E>): void {
	const lazy = use_lazy();
	const newest = use_newest<(...args: any[]) => void>(callback);
	useEffect(() => {
		const connection = lazy.get();
		const listener = (...args: any[]) => newest.current(...args);
		connection.on<string>(event, listener);
		return () => connection.off(event, listener);
	}, [lazy, event, newest]);
}

export interface LiveData extends LiveState {
	readonly error: Error | null;
	readonly loading: boolean;
	/** Load the data now. */
	reload(): Promise<void>;
}

/** A document as it is now on the server. */
export function useDoc<T = Record<string, any>>(
	doctype: string,
	name: string | number | null | undefined,
	options: FollowOptions = {},
): LiveData & { doc: T | null } {
	const has_name = name != null && name !== "";
	const { data, ...rest } = use_live<T>(
		has_name ? (connection) => live_doc<T>(connection, doctype, name, options) : null,
		JSON.stringify([doctype, name, options]),
	);
	return { doc: data, ...rest };
}

/** The rows of a list as they are now on the server. */
export function useList<T = Record<string, any>>(
	doctype: string,
	query: ListQuery = {},
	options: FollowOptions = {},
): LiveData & { rows: T[] | null } {
	const { data, ...rest } = use_live<T[]>(
		(connection) => live_list<T>(connection, doctype, query, options),
		JSON.stringify([doctype, query, options]),
	);
	return { rows: data, ...rest };
}

/**
 * The newest progress: of work that this page has started (`frappe.publish_progress`), or of one background task.
 *
 * Null before the first message.
 */
export function useProgress(task_id?: string | null): Progress | null {
	const lazy = use_lazy();
	// With the task, so that no progress of the previous one is shown until the effect has run.
	const [newest, set_newest] = useState<{ task_id: string | null | undefined; progress: Progress } | null>(null);
	useEffect(() => {
		const stop = follow_progress(lazy.get(), task_id, (progress) => set_newest({ task_id, progress }));
		return () => {
			stop();
			set_newest(null);
		};
	}, [lazy, task_id]);
	return newest && newest.task_id === task_id ? newest.progress : null;
}

/**
 * Be in a place while the component exists, and see who else is: `usePresence({ doctype, name })`, `{ room }`, or `{}` for the site.
 *
 * `state` is that of the beginning; `set` changes it. With null or undefined as place, or while a name in it is null, undefined or empty,
 * the page is nowhere.
 */
export function usePresence(
	place: MaybePlace,
	state: object = {},
): HereSnapshot & { set(state: object, options?: { ttl?: number | null }): void } {
	const wanted = known_place(place);
	const first = use_newest(state);
	const [now, snapshot] = use_followed(
		wanted && ((connection) => here(connection, wanted, first.current)),
		JSON.stringify(wanted),
		(one) => one.snapshot,
		NOBODY,
	);
	const set = useCallback((changes: object, options?: { ttl?: number | null }) => now?.set(changes, options), [now]);
	return { ...snapshot, set };
}

/**
 * Load what a hook of frappe-react-sdk shows again when its documents have changed, while the component exists.
 *
 * @param response what the hook returns, or its `mutate`, or any function that loads the data again
 * @param target the document or the DocType
 * @param options see `FollowOptions`
 */
export function useLive(
	response: { mutate(): unknown } | (() => unknown),
	target: Target,
	options: FollowOptions = {},
): LiveState {
	const newest = use_newest(response);
	const reload = () => (typeof newest.current === "function" ? newest.current() : newest.current.mutate());
	const [, state] = use_followed(
		(connection) => follow(connection, target, reload, options),
		JSON.stringify([target.doctype, target.name, options]),
		(one) => one.state,
		FRESH,
	);
	return state;
}

const NOBODY: HereSnapshot = { members: [], count: 0, me: null, code: null };
const FRESH: LiveState = { stale: false, lost: false };
const EMPTY: Snapshot<any> = { data: null, error: null, loading: true, stale: false, lost: false };
const NOTHING: Snapshot<any> = { ...EMPTY, loading: false };
const nothing = () => {};

function use_lazy(): LazyConnection {
	const lazy = useContext(Context);
	if (!lazy) throw new Error("There is no connection: put <RealtimeProvider> around the components that use it.");
	return lazy;
}

function use_newest<T>(value: T): { readonly current: T } {
	const newest = useRef(value);
	useEffect(() => {
		newest.current = value;
	});
	return newest;
}

function use_live<T>(make: ((connection: Connection) => Live<T>) | null, key: string): LiveData & { data: T | null } {
	const [live, snapshot] = use_followed(make, key, (one): Snapshot<T> => one.snapshot, make ? EMPTY : NOTHING);
	const reload = useCallback(() => live?.reload() ?? Promise.resolve(), [live]);
	return { ...snapshot, reload };
}

interface Followed {
	subscribe(listener: () => void): () => void;
	stop(): void;
}

// What `make` returns while the component exists, and what `read` says of it now; null and `empty` before, and without `make`.
// The key stands for all that `make` uses: another one makes it anew.
function use_followed<F extends Followed, S>(
	make: ((connection: Connection) => F) | null,
	key: string,
	read: (one: F) => S,
	empty: S,
): [F | null, S] {
	const lazy = use_lazy();
	// With its key: until the effect has run, what was made before is of another document.
	const [made, set_made] = useState<{ key: string; one: F } | null>(null);
	useEffect(() => {
		if (!make) return;
		const one = make(lazy.get());
		set_made({ key, one });
		return () => {
			one.stop();
			set_made(null);
		};
	}, [lazy, key]);
	const one = made?.key === key ? made.one : null;
	const state = useSyncExternalStore(
		useCallback((listener) => one?.subscribe(listener) ?? nothing, [one]),
		() => (one ? read(one) : empty),
		() => empty,
	);
	return [one, state];
}
