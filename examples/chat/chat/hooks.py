"""The hooks of this app. Handlers need no hook: the realtime server finds their file."""

app_name = "chat"
app_title = "Chat"
app_publisher = "The frappe_realtime authors"
app_description = "Chat about any document"
app_license = "mit"
