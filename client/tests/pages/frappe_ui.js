// What the page uses of the published frappe-ui, without what its components need.

export * from "../../../.cache/client/frappe-ui/package/src/resources/index.ts";
export { setConfig } from "../../../.cache/client/frappe-ui/package/src/utils/config";
export { frappeRequest } from "../../../.cache/client/frappe-ui/package/src/utils/frappeRequest.js";
