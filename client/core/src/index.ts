// The package @frappe-realtime/core: the connection, and live documents and lists without a framework.

export { Api, ApiError, type ListQuery } from "./api.js";
export type * from "./diagnosis.js";
export type * from "./events.js";
export * from "./here.js";
export type { Io } from "./io.js";
export * from "./lazy.js";
export * from "./live.js";
export { PresenceError, type Member, type Presence, type PresenceEvents } from "./presence.js";
export * from "./progress.js";
export type { Progress } from "./progress_message.js";
export * from "./realtime.js";
export type { Token } from "./token.js";
