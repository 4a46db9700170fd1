import { createRealtime } from "@frappe-realtime/vue";
import { FrappeUI, frappeRequest, setConfig } from "frappe-ui";
import { createApp } from "vue";

import App from "./App.vue";

setConfig("resourceFetcher", frappeRequest);

const app = createApp(App);
// Without frappe-ui's own socket: the page has one connection.
app.use(FrappeUI, { socketio: false });
app.use(createRealtime());
app.mount("main");
