// Realtime for Vue: composables over one connection, which the plugin holds.

import {
	computed,
	getCurrentInstance,
	inject,
	onActivated,
	onDeactivated,
	onMounted,
	shallowRef,
	toValue,
	watch,
	type App,
	type ComputedRef,
	type InjectionKey,
	type MaybeRefOrGetter,
	type Ref,
	type ShallowRef,
} from "vue";

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
	type Here,
	type HereSnapshot,
	type LazyConnection,
	type ListenerOf,
	type ListQuery,
	type Live,
	type LiveState,
	type Member,
	type MaybePlace,
	type Progress,
	type Snapshot,
	type Status,
	type Target,
} from "@frappe-realtime/core";

const KEY: InjectionKey<LazyConnection> = Symbol("realtime");

/**
 * The plugin: `app.use(createRealtime({ site }))`.
 *
 * The connection is opened when the first component that uses it is mounted, so that a server can render pages.
 */
export function createRealtime(options: ConnectOptions | Connection = {}): { install(app: App): void } {
	return {
		install(app) {
			const opener = lazy_connection(options);
			app.provide(KEY, opener);
			app.onUnmount(() => opener.close());
		},
	};
}

export interface Realtime {
	/** The connection; null while a server renders the page, and before the component is mounted. */
	connection: Readonly<ShallowRef<Connection | null>>;
	status: Readonly<ShallowRef<Status>>;
	emit(event: string, ...args: any[]): void;
	emitWithAck<T = any>(event: string, ...args: any[]): Promise<T>;
}

/** The connection of the plugin, and its status. */
export function useRealtime(): Realtime {
	const { connection, latest } = use_connection();
	const status = shallowRef<Status>("connecting");
	with_connection(connection, nothing, (one) => {
		const on_status = (now: Status) => void (status.value = now);
		on_status(one.status);
		one.keep_listening(STATUS_EVENT, on_status);
		return () => one.off(STATUS_EVENT, on_status);
	});
	return {
		connection,
		status,
		emit: (event, ...args) => latest().emit(event, ...args),
		emitWithAck: (event, ...args) => latest().emitWithAck(event, ...args),
	};
}

/** Listen to an event while the component exists. */
export function useEvent<E extends EventName>(event: E, callback: ListenerOf<E>): void {
	const { connection } = use_connection();
	with_connection(connection, nothing, (one) => {
		one.on(event, callback);
		return () => one.off(event, callback);
	});
}

export interface LiveRefs {
	/** The data has changed on the server, or may have, and is not loaded again yet. */
	stale: ComputedRef<boolean>;
	/** There is no connection: nobody says when the data changes. */
	lost: ComputedRef<boolean>;
	error: ComputedRef<Error | null>;
	loading: ComputedRef<boolean>;
	/** Load the data now. */
	reload(): Promise<void>;
}

/** A document as it is now on the server. */
export function useDoc<T = Record<string, any>>(
	doctype: MaybeRefOrGetter<string>,
	name: MaybeRefOrGetter<string | number | null | undefined>,
	options: FollowOptions = {},
): LiveRefs & { doc: ComputedRef<T | null> } {
	const { data, ...refs } = use_live<T, [string, string | number]>(
		() => {
			const [type, one] = [toValue(doctype), toValue(name)];
			return one == null || one === "" ? null : [type, one];
		},
		(connection, [type, one]) => live_doc<T>(connection, type, one, options),
	);
	return { doc: data, ...refs };
}

/** The rows of a list as they are now on the server. */
export function useList<T = Record<string, any>>(
	doctype: MaybeRefOrGetter<string>,
	query: MaybeRefOrGetter<ListQuery> = {},
	options: FollowOptions = {},
): LiveRefs & { rows: ComputedRef<T[] | null> } {
	const { data, ...refs } = use_live<T[], [string, ListQuery]>(
		() => [toValue(doctype), toValue(query)],
		(connection, [type, values]) => live_list<T>(connection, type, values, options),
	);
	return { rows: data, ...refs };
}

/**
 * The newest progress: of work that this page has started (`frappe.publish_progress`), or of one background task.
 *
 * Null before the first message.
 */
export function useProgress(task_id?: MaybeRefOrGetter<string | null | undefined>): Readonly<ShallowRef<Progress | null>> {
	const connection = use_shown_connection();
	const progress = shallowRef<Progress | null>(null);
	with_connection(connection, () => toValue(task_id), (one, task) => {
		progress.value = null;
		return follow_progress(one, task, (now) => void (progress.value = now));
	});
	return progress;
}

/**
 * Be in a place while the component is shown, and see who else is: `usePresence({ doctype, name })`, `{ room }`, or `{}` for the site.
 *
 * `set` changes the own state. With null or undefined as place, or while a name in it is null, undefined or empty, the page is nowhere.
 */
export function usePresence(
	place: MaybeRefOrGetter<MaybePlace>,
	state: object = {},
): {
	members: ComputedRef<readonly Member[]>;
	count: ComputedRef<number>;
	me: ComputedRef<Member | null>;
	code: ComputedRef<string | null>;
	set(state: object, options?: { ttl?: number | null }): void;
} {
	const connection = use_shown_connection();
	const nobody: HereSnapshot = { members: [], count: 0, me: null, code: null };
	const snapshot = shallowRef(nobody);
	let current: Here | undefined;
	with_connection(connection, () => known_place(toValue(place)), (one, wanted) => {
		if (!wanted) return () => {};
		const now = (current = here(one, wanted, state));
		now.subscribe(() => void (snapshot.value = now.snapshot));
		return () => {
			now.stop();
			current = undefined;
			snapshot.value = nobody;
		};
	});
	return {
		members: computed(() => snapshot.value.members),
		count: computed(() => snapshot.value.count),
		me: computed(() => snapshot.value.me),
		code: computed(() => snapshot.value.code),
		set: (changes, options) => current?.set(changes, options),
	};
}

/** What frappe-ui's resources have: `createListResource`, `createDocumentResource`, `createResource`, `useList`, `useDoc`. */
export interface Resource {
	doctype?: string;
	name?: string | number;
	reload(): unknown;
}

/**
 * Load a resource of frappe-ui again when its documents have changed, while the component is shown.
 *
 * @param resource what frappe-ui has made
 * @param target the document or the DocType; default: those of a list or document resource
 * @param options see `FollowOptions`
 */
export function useLive(
	resource: Resource,
	target: MaybeRefOrGetter<Target> = () => target_of(resource),
	options: FollowOptions = {},
): Pick<LiveRefs, "stale" | "lost"> {
	const connection = use_shown_connection();
	const state = shallowRef<LiveState>({ stale: false, lost: false });
	let last = "";
	with_connection(connection, () => toValue(target), (one, followed) => {
		const follower = follow(one, followed, () => resource.reload(), options);
		const key = JSON.stringify(followed);
		// It was followed before, and nobody has said since what has changed.
		if (key === last) follower.invalidate();
		last = key;
		state.value = follower.state;
		follower.subscribe(() => void (state.value = follower.state));
		return () => follower.stop();
	});
	return { stale: computed(() => state.value.stale), lost: computed(() => state.value.lost) };
}

function target_of({ doctype, name }: Resource): Target {
	if (!doctype) throw new Error("This resource does not say which DocType it shows: pass { doctype } as second argument.");
	return name === undefined ? { doctype } : { doctype, name };
}

function use_connection(): { connection: ShallowRef<Connection | null>; latest(): Connection } {
	const opener = inject(KEY, null);
	if (!opener) throw new Error("There is no connection: call app.use(createRealtime()).");
	const connection = shallowRef<Connection | null>(null);
	const start = () => void (connection.value = opener.get());
	// Neither a server nor a component that is never shown needs a connection.
	if (getCurrentInstance()) onMounted(start);
	else start();
	return { connection, latest: opener.latest };
}

// The connection for what is held on the server: null while <KeepAlive> keeps the component without showing it.
function use_shown_connection(): ComputedRef<Connection | null> {
	const { connection } = use_connection();
	const is_shown = shallowRef(true);
	if (getCurrentInstance()) {
		onActivated(() => void (is_shown.value = true));
		onDeactivated(() => void (is_shown.value = false));
	}
	return computed(() => (is_shown.value ? connection.value : null));
}

// Run `start` with the connection and with a copy of what `read` returns, which is JSON, and again when either is another one;
// before, and at the end of the component, call what it has returned. An equal value in another object begins nothing anew.
function with_connection<D>(
	connection: Readonly<Ref<Connection | null>>,
	read: () => D,
	start: (one: Connection, data: D) => () => void,
): void {
	watch(
		// A getter, because a shallowRef in an array triggers with any change. What is read is in an array, because JSON has no undefined.
		[() => connection.value, () => JSON.stringify([read()])] as const,
		([one, text], _, on_cleanup) => {
			if (one) on_cleanup(start(one, JSON.parse(text)[0]));
		},
		{ immediate: true },
	);
}

const nothing = () => undefined;

// `read` reads what the data depends on, null for nothing; `make` returns what follows it. A change of it begins anew.
function use_live<T, D>(
	read: () => D | null,
	make: (connection: Connection, wanted: D) => Live<T>,
): LiveRefs & { data: ComputedRef<T | null> } {
	const connection = use_shown_connection();
	const empty: Snapshot<T> = { data: null, error: null, loading: true, stale: false, lost: false };
	const snapshot = shallowRef<Snapshot<T>>(empty);
	let live: Live<T> | undefined;
	with_connection(connection, read, (one, wanted) => {
		snapshot.value = empty;
		if (wanted === null) return nothing;
		const now = (live = make(one, wanted));
		const update = () => void (snapshot.value = now.snapshot);
		now.subscribe(update);
		update();
		return () => {
			now.stop();
			live = undefined;
		};
	});
	return {
		data: computed(() => snapshot.value.data),
		error: computed(() => snapshot.value.error),
		loading: computed(() => read() !== null && snapshot.value.loading),
		stale: computed(() => snapshot.value.stale),
		lost: computed(() => snapshot.value.lost),
		reload: () => live?.reload() ?? Promise.resolve(),
	};
}
