// The package @frappe-realtime/yjs: shared editing of documents with Yjs.

export { Awareness, type AwarenessChange, type AwarenessEvents, type AwarenessState } from "./awareness.js";
export { SharedEditingError } from "./protocol.js";
export { RealtimeProvider, type ProviderEvents, type ProviderOptions, type ProviderStatus } from "./provider.js";
