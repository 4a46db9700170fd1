// A formatted text with cursors: Tiptap.

import { Editor } from "@tiptap/core";
import Collaboration from "@tiptap/extension-collaboration";
import CollaborationCaret from "@tiptap/extension-collaboration-caret";
import StarterKit from "@tiptap/starter-kit";

/**
 * @param {Element} element
 * @param {import("@frappe-realtime/yjs").RealtimeProvider} provider
 * @returns {Editor}
 */
export function show_editor(element, provider) {
	return new Editor({
		element,
		editable: false,
		extensions: [
			// Collaboration undoes the changes of this page only.
			StarterKit.configure({ undoRedo: false }),
			Collaboration.configure({ document: provider.doc, field: "page" }),
			CollaborationCaret.configure({ provider, user: provider.awareness.getLocalState().user }),
		],
	});
}
