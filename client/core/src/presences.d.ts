// The types of frappe_realtime/public/js/presences.js, which the build puts in the place of this module.

import type { Connection } from "./connection.js";
import type { Presence } from "./presence.js";

export class Presences {
	constructor(connection: Connection);
	get(place: string): Presence;
	attach(): void;
	on_connect(recovered: boolean): void;
	close(): void;
}

export function place_of(doctype?: string | { room: string }, name?: string | number): string;
