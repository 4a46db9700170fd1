import { RealtimeProvider } from "@frappe-realtime/react";
import { FrappeProvider } from "frappe-react-sdk";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { App } from "./app.jsx";

// Without the SDK's own socket: the page has one connection.
createRoot(document.querySelector("main")).render(
	<StrictMode>
		<FrappeProvider enableSocket={false}>
			<RealtimeProvider>
				<App />
			</RealtimeProvider>
		</FrappeProvider>
	</StrictMode>,
);
