// Listeners by event, as Yjs' own providers have them.

type Listeners<Events> = { [E in keyof Events]?: Set<Events[E]> };

/** Something that emits the events `Events`: a listener by name. */
export class Emitter<Events extends { [E in keyof Events]: (...args: any[]) => void }> {
	private readonly _listeners: Listeners<Events> = {};

	on<E extends keyof Events>(event: E, listener: Events[E]): void {
		(this._listeners[event] ??= new Set()).add(listener);
	}

	once<E extends keyof Events>(event: E, listener: Events[E]): void {
		const first = ((...args: any[]) => {
			this.off(event, first);
			listener(...args);
		}) as Events[E];
		this.on(event, first);
	}

	off<E extends keyof Events>(event: E, listener: Events[E]): void {
		this._listeners[event]?.delete(listener);
	}

	protected _emit<E extends keyof Events>(event: E, ...args: Parameters<Events[E]>): void {
		for (const listener of [...(this._listeners[event] ?? [])]) {
			try {
				listener(...args);
			} catch (error) {
				// As of a listener of the DOM: it is an uncaught error, and ends neither what is done here nor other listeners.
				queueMicrotask(() => {
					throw error;
				});
			}
		}
	}

	protected _has_listeners(event: keyof Events): boolean {
		return Boolean(this._listeners[event]?.size);
	}

	protected _remove_listeners(): void {
		for (const event of Object.keys(this._listeners)) delete this._listeners[event as keyof Events];
	}
}
